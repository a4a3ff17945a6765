"""Streams one answer with OpenAI's own client, and prints it and what it says of usage."""

import json
import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["WEIR_BASE_URL"], api_key=os.environ["WEIR_KEY"])
text, usage, request = "", None, None
stream = client.chat.completions.with_raw_response.create(
    model="gpt-test",
    messages=[{"role": "user", "content": "Say something."}],
    stream=True,
    stream_options={"include_usage": True},
)
request = stream.headers["x-request-id"]
for chunk in stream.parse():
    if chunk.choices and chunk.choices[0].delta.content:
        text += chunk.choices[0].delta.content
    if chunk.usage:
        usage = chunk.usage.total_tokens
print(json.dumps({"text": text, "usage": usage, "request": request}))
