"""The official `openai` package for Python against a running Weir.

Reads WEIR_BASE_URL (up to `/v1`) and WEIR_KEY, ends with a summary line and exit code 0 or 1.
The Rust tests start the gateway and the stand-in vendor, then run this file. Models it expects:

    stub-chat, stub-tools, stub-embed      answer
    stub-429, stub-500                     always fail so
    stub-429-once                          answers 429 with retry-after to the first call, 200 to the next
"""

import asyncio
import base64
import json
import math
import os
import struct
import sys
import time
import unittest

import openai
from openai import AsyncOpenAI, OpenAI

BASE_URL = os.environ["WEIR_BASE_URL"]
KEY = os.environ["WEIR_KEY"]

HELLO = [{"role": "user", "content": "Say hello."}]
# The smallest PNG there is: one transparent pixel.
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def client(key=KEY, **options):
    """A client that does not retry, so that a test sees the first answer."""
    return OpenAI(base_url=BASE_URL, api_key=key, **{"max_retries": 0, "timeout": 30, **options})


class Chat(unittest.TestCase):
    def test_a_chat_answers_with_text_and_usage(self):
        answer = client().chat.completions.create(model="stub-chat", messages=HELLO)
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertTrue(answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        usage = answer.usage
        self.assertGreater(usage.prompt_tokens, 0)
        self.assertGreater(usage.completion_tokens, 0)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)

    def test_the_answer_carries_weirs_own_request_id(self):
        with_headers = client().chat.completions.with_raw_response
        first = with_headers.create(model="stub-chat", messages=HELLO, extra_headers={"x-request-id": "mine"})
        second = with_headers.create(model="stub-chat", messages=HELLO, extra_headers={"x-request-id": "mine"})
        ids = {first.headers["x-request-id"], second.headers["x-request-id"]}
        self.assertEqual(len(ids), 2, "each request has an id of its own")
        self.assertNotIn("mine", ids)
        self.assertEqual(first.headers["x-client-request-id"], "mine")

    def test_the_async_client_makes_calls_at_once(self):
        async def calls():
            async with AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=30) as caller:
                create = caller.chat.completions.create
                return await asyncio.gather(*(create(model="stub-chat", messages=HELLO) for _ in range(8)))

        for answer in asyncio.run(calls()):
            self.assertTrue(answer.choices[0].message.content)

    def test_images_in_content_pass(self):
        for url in (PIXEL, "https://images.example/cat.png"):
            with self.subTest(url=url[:16]):
                content = [
                    {"type": "text", "text": "What is in this picture?"},
                    {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
                ]
                answer = client().chat.completions.create(
                    model="stub-chat", messages=[{"role": "user", "content": content}]
                )
                self.assertTrue(answer.choices[0].message.content)

    def test_a_json_schema_is_accepted(self):
        schema = {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        }
        answer = client().chat.completions.create(
            model="stub-chat",
            messages=[{"role": "user", "content": "Name a city as JSON."}],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "city", "strict": True, "schema": schema},
            },
        )
        self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)


class Streams(unittest.TestCase):
    def test_a_stream_comes_in_several_chunks(self):
        chunks = list(client().chat.completions.create(model="stub-chat", messages=HELLO, stream=True))
        with_text = [c for c in chunks if c.choices and c.choices[0].delta.content]
        self.assertGreater(len(with_text), 1)
        self.assertEqual(len({c.id for c in chunks}), 1)
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
        # Weir asks the vendor for the usage; a caller who did not ask must not see that chunk.
        self.assertTrue(all(c.choices for c in chunks), "no chunk with empty choices")

    def test_usage_is_the_last_chunk_of_a_stream_that_asks(self):
        chunks = list(
            client().chat.completions.create(
                model="stub-chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
        )
        self.assertEqual(chunks[-1].choices, [])
        self.assertGreater(chunks[-1].usage.prompt_tokens, 0)
        self.assertGreater(chunks[-1].usage.completion_tokens, 0)
        self.assertTrue(all(c.usage is None for c in chunks[:-1]))

    def test_a_stream_that_is_left_early_leaves_the_client_usable(self):
        caller = client()
        with caller.chat.completions.create(model="stub-chat", messages=HELLO, stream=True) as stream:
            next(iter(stream))
        answer = caller.chat.completions.create(model="stub-chat", messages=HELLO)
        self.assertTrue(answer.choices[0].message.content)


class Tools(unittest.TestCase):
    ASK = {"model": "stub-tools", "messages": [{"role": "user", "content": "Weather in Paris?"}], "tools": [WEATHER]}

    def test_a_tool_call_comes_back(self):
        choice = client().chat.completions.create(**self.ASK).choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        call = choice.message.tool_calls[0]
        self.assertEqual(call.type, "function")
        self.assertTrue(call.id)
        self.assertEqual(call.function.name, "get_weather")
        self.assertIsInstance(json.loads(call.function.arguments), dict)

    def test_a_streamed_tool_call_adds_up(self):
        arguments, names, reasons = "", [], []
        for chunk in client().chat.completions.create(**self.ASK, stream=True):
            for choice in chunk.choices:
                reasons.append(choice.finish_reason)
                for call in choice.delta.tool_calls or []:
                    names += [call.function.name] if call.function.name else []
                    arguments += call.function.arguments or ""
        self.assertEqual(names, ["get_weather"])
        self.assertIsInstance(json.loads(arguments), dict)
        self.assertEqual(reasons[-1], "tool_calls")

    def test_the_tools_result_can_be_sent_back(self):
        call = client().chat.completions.create(**self.ASK).choices[0].message
        messages = [
            *self.ASK["messages"],
            call.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": '{"celsius": 21}'},
        ]
        answer = client().chat.completions.create(model="stub-chat", messages=messages, tools=[WEATHER])
        self.assertTrue(answer.choices[0].message.content)


class Embeddings(unittest.TestCase):
    def test_vectors_are_the_same_as_floats_and_as_base64(self):
        # Left alone the client asks for base64 and unpacks it; `float` is what plain HTTP callers use.
        unpacked = client().embeddings.create(model="stub-embed", input=["one", "two"])
        floats = client().embeddings.create(model="stub-embed", input=["one", "two"], encoding_format="float")
        self.assertEqual([row.index for row in floats.data], [0, 1])
        self.assertGreater(floats.usage.prompt_tokens, 0)
        for left, right in zip(unpacked.data, floats.data, strict=True):
            self.assertEqual(len(left.embedding), len(right.embedding))
            pairs = zip(left.embedding, right.embedding, strict=True)
            self.assertTrue(all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) for a, b in pairs))

    def test_base64_on_request_stays_base64(self):
        answer = client().embeddings.create(model="stub-embed", input="one", encoding_format="base64")
        packed = base64.b64decode(answer.data[0].embedding, validate=True)
        self.assertEqual(len(packed) % 4, 0)
        self.assertTrue(all(math.isfinite(x) for (x,) in struct.iter_unpack("<f", packed)))


class Models(unittest.TestCase):
    def test_the_list_names_what_the_key_may_use(self):
        ids = [model.id for model in client().models.list()]
        self.assertEqual(len(ids), len(set(ids)))
        for name in ("stub-chat", "stub-tools", "stub-embed"):
            self.assertIn(name, ids)

    def test_one_model_can_be_retrieved(self):
        model = client().models.retrieve("stub-chat")
        self.assertEqual((model.id, model.object), ("stub-chat", "model"))

    def test_an_unknown_model_is_not_found(self):
        with self.assertRaises(openai.NotFoundError):
            client().models.retrieve("no-such-model")


class Errors(unittest.TestCase):
    def assert_refused(self, kind, status, code, call):
        """The client raises `kind`, which carries the status, Weir's code and the request's id."""
        with self.assertRaises(kind) as caught:
            call()
        error = caught.exception
        self.assertEqual(error.status_code, status)
        if code:
            self.assertEqual(error.code, code)
        self.assertTrue(error.message)
        self.assertTrue(error.request_id)
        return error

    def test_a_wrong_key_is_an_authentication_error(self):
        self.assert_refused(
            openai.AuthenticationError,
            401,
            "invalid_api_key",
            lambda: client(key="wk-not-a-key").chat.completions.create(model="stub-chat", messages=HELLO),
        )

    def test_an_unknown_model_is_a_not_found_error(self):
        error = self.assert_refused(
            openai.NotFoundError,
            404,
            "model_not_found",
            lambda: client().chat.completions.create(model="no-such-model", messages=HELLO),
        )
        self.assertIn("no-such-model", error.message)

    def test_malformed_json_is_a_bad_request_error(self):
        # The typed methods cannot send broken JSON; `content` is sent as it is.
        self.assert_refused(
            openai.BadRequestError,
            400,
            "invalid_json",
            lambda: client().post("/chat/completions", content=b'{"model": "stub-chat", ', cast_to=object),
        )

    def test_a_model_of_the_wrong_type_is_a_bad_request_error(self):
        self.assert_refused(
            openai.BadRequestError,
            400,
            None,
            lambda: client().chat.completions.create(model=7, messages=HELLO),
        )

    def test_the_vendors_429_is_a_rate_limit_error(self):
        self.assert_refused(
            openai.RateLimitError,
            429,
            None,
            lambda: client().chat.completions.create(model="stub-429", messages=HELLO),
        )

    def test_the_vendors_500_is_an_internal_server_error(self):
        # Weir relays the last attempt's answer or says 502 itself: to the client both are this class.
        with self.assertRaises(openai.InternalServerError) as caught:
            client().chat.completions.create(model="stub-500", messages=HELLO)
        self.assertGreaterEqual(caught.exception.status_code, 500)
        self.assertTrue(caught.exception.request_id)

    def test_a_refused_stream_raises_before_its_first_chunk(self):
        with self.assertRaises(openai.NotFoundError):
            client().chat.completions.create(model="no-such-model", messages=HELLO, stream=True)


class Retries(unittest.TestCase):
    def test_a_429_is_retried_after_the_time_it_names(self):
        started = time.monotonic()
        answer = client(max_retries=2).chat.completions.create(model="stub-429-once", messages=HELLO)
        self.assertTrue(answer.choices[0].message.content)
        self.assertLess(time.monotonic() - started, 15)


if __name__ == "__main__":
    outcome = unittest.main(exit=False, verbosity=2).result
    broken = [test for test, _ in outcome.failures + outcome.errors]
    # A test with subtests counts once, however many of them fail.
    failed = len({getattr(test, "test_case", test).id() for test in broken})
    print(f"openai {openai.__version__} for Python: {outcome.testsRun - failed} passed, {failed} failed")
    sys.exit(0 if outcome.testsRun and outcome.wasSuccessful() else 1)
