// The official `openai` package for Node against a running Weir.
//
// Reads WEIR_BASE_URL (up to `/v1`), WEIR_KEY and WEIR_TEST_NODE_MODULES (the folder that holds `openai`).
// Run with `node --test`; the models it expects are those that test_openai.py lists.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { describe, it } from "node:test";

// `import` knows no search path, so the package is resolved from the folder that `make setup-test` filled.
const from = path.resolve(process.env.WEIR_TEST_NODE_MODULES ?? "node_modules", "..", "package.json");
const { default: OpenAI } = createRequire(from)("openai");

const baseURL = process.env.WEIR_BASE_URL;
const apiKey = process.env.WEIR_KEY;
assert.ok(baseURL && apiKey, "WEIR_BASE_URL and WEIR_KEY must be set");

const hello = [{ role: "user", content: "Say hello." }];
// The smallest PNG there is: one transparent pixel.
const pixel =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ" +
  "AAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};

/** A client that does not retry, so that a test sees the first answer. */
const client = (options = {}) => new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000, ...options });
const chat = (body, options) => client(options).chat.completions.create({ model: "stub-chat", messages: hello, ...body });

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

/** Awaits the refusal and checks what every refusal carries: class, status, code, message, request id. */
async function refused(call, kind, status, code) {
  const error = await call.then(
    () => assert.fail("the call was answered"),
    (reason) => reason,
  );
  assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error}`);
  assert.equal(error.status, status);
  if (code) assert.equal(error.code, code);
  assert.ok(error.message);
  assert.ok(error.requestID);
  return error;
}

describe("chat", () => {
  it("answers with text and usage", async () => {
    const answer = await chat();
    assert.equal(answer.object, "chat.completion");
    assert.ok(answer.choices[0].message.content);
    assert.equal(answer.choices[0].finish_reason, "stop");
    const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
    assert.ok(prompt_tokens > 0 && completion_tokens > 0);
    assert.equal(total_tokens, prompt_tokens + completion_tokens);
  });

  it("carries Weir's own request id", async () => {
    const ask = () => chat({}, { defaultHeaders: { "x-request-id": "mine" } }).withResponse();
    const [first, second] = [await ask(), await ask()];
    assert.notEqual(first.request_id, second.request_id);
    assert.notEqual(first.request_id, "mine");
    assert.equal(first.response.headers.get("x-client-request-id"), "mine");
  });

  it("passes images in content", async () => {
    for (const url of [pixel, "https://images.example/cat.png"]) {
      const content = [
        { type: "text", text: "What is in this picture?" },
        { type: "image_url", image_url: { url, detail: "low" } },
      ];
      const answer = await chat({ messages: [{ role: "user", content }] });
      assert.ok(answer.choices[0].message.content);
    }
  });

  it("accepts a JSON schema", async () => {
    const schema = {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    };
    const answer = await chat({
      messages: [{ role: "user", content: "Name a city as JSON." }],
      response_format: { type: "json_schema", json_schema: { name: "city", strict: true, schema } },
    });
    assert.equal(typeof JSON.parse(answer.choices[0].message.content), "object");
  });
});

describe("streams", () => {
  it("come in several chunks, without the usage chunk that nobody asked for", async () => {
    const chunks = await collect(await chat({ stream: true }));
    assert.ok(chunks.filter((c) => c.choices[0]?.delta.content).length > 1);
    assert.equal(chunks.filter((c) => c.choices.length).at(-1).choices[0].finish_reason, "stop");
    assert.ok(chunks.every((c) => c.choices.length > 0));
  });

  it("end with the usage when asked", async () => {
    const chunks = await collect(await chat({ stream: true, stream_options: { include_usage: true } }));
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.completion_tokens > 0);
    assert.ok(chunks.slice(0, -1).every((c) => c.usage == null));
  });

  it("can be left early", async () => {
    for await (const _ of await chat({ stream: true })) break;
    assert.ok((await chat()).choices[0].message.content);
  });

  it("add up in the client's own helper", async () => {
    const runner = client().chat.completions.stream({ model: "stub-chat", messages: hello });
    assert.ok(await runner.finalContent());
  });
});

describe("tools", () => {
  const ask = { model: "stub-tools", messages: [{ role: "user", content: "Weather in Paris?" }], tools: [weather] };

  it("are called", async () => {
    const { choices } = await chat(ask);
    assert.equal(choices[0].finish_reason, "tool_calls");
    const [call] = choices[0].message.tool_calls;
    assert.equal(call.function.name, "get_weather");
    assert.equal(typeof JSON.parse(call.function.arguments), "object");
  });

  it("add up from a stream", async () => {
    const calls = (await collect(await chat({ ...ask, stream: true })))
      .flatMap((chunk) => chunk.choices)
      .flatMap((choice) => choice.delta.tool_calls ?? []);
    assert.deepEqual(calls.map((call) => call.function.name).filter(Boolean), ["get_weather"]);
    assert.equal(typeof JSON.parse(calls.map((call) => call.function.arguments ?? "").join("")), "object");
  });

  it("take their result back", async () => {
    const { message } = (await chat(ask)).choices[0];
    const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: '{"celsius": 21}' };
    const answer = await chat({ messages: [...ask.messages, message, result], tools: [weather] });
    assert.ok(answer.choices[0].message.content);
  });
});

describe("embeddings", () => {
  it("are the same as floats and as base64", async () => {
    const ask = (more) => client().embeddings.create({ model: "stub-embed", input: ["one", "two"], ...more });
    // Left alone the client asks for base64 and unpacks it.
    const [unpacked, floats] = [await ask({}), await ask({ encoding_format: "float" })];
    assert.deepEqual(floats.data.map((row) => row.index), [0, 1]);
    assert.ok(floats.usage.prompt_tokens > 0);
    floats.data.forEach((row, i) => {
      assert.equal(unpacked.data[i].embedding.length, row.embedding.length);
      row.embedding.forEach((x, j) => assert.ok(Math.abs(x - unpacked.data[i].embedding[j]) < 1e-5));
    });
  });

  it("stay base64 on request", async () => {
    const answer = await client().embeddings.create({ model: "stub-embed", input: "one", encoding_format: "base64" });
    assert.equal(typeof answer.data[0].embedding, "string");
    assert.equal(Buffer.from(answer.data[0].embedding, "base64").length % 4, 0);
  });
});

describe("models", () => {
  it("are listed", async () => {
    const ids = (await collect(await client().models.list())).map((model) => model.id);
    for (const name of ["stub-chat", "stub-tools", "stub-embed"]) assert.ok(ids.includes(name), name);
  });

  it("are retrieved one by one", async () => {
    const model = await client().models.retrieve("stub-chat");
    assert.equal(model.id, "stub-chat");
    await refused(client().models.retrieve("no-such-model"), OpenAI.NotFoundError, 404);
  });
});

describe("errors", () => {
  it("a wrong key is an AuthenticationError", () =>
    refused(chat({}, { apiKey: "wk-not-a-key" }), OpenAI.AuthenticationError, 401, "invalid_api_key"));

  it("an unknown model is a NotFoundError, streamed or not", async () => {
    for (const stream of [false, true]) {
      const error = await refused(chat({ model: "no-such-model", stream }), OpenAI.NotFoundError, 404, "model_not_found");
      assert.match(error.message, /no-such-model/);
    }
  });

  it("malformed JSON is a BadRequestError", () => {
    // The typed methods cannot send broken JSON; a body that is bytes already is sent as it is.
    const body = new TextEncoder().encode('{"model": "stub-chat", ');
    const headers = { "content-type": "application/json" };
    return refused(
      client().post("/chat/completions", { body, headers }),
      OpenAI.BadRequestError,
      400,
      "invalid_json",
    );
  });

  it("a model of the wrong type is a BadRequestError", () => refused(chat({ model: 7 }), OpenAI.BadRequestError, 400));

  it("the vendor's 429 is a RateLimitError", () => refused(chat({ model: "stub-429" }), OpenAI.RateLimitError, 429));

  it("the vendor's 500 is an InternalServerError", async () => {
    // Weir relays the last attempt's answer or says 502 itself: to the client both are this class.
    const error = await chat({ model: "stub-500" }).catch((reason) => reason);
    assert.ok(error instanceof OpenAI.InternalServerError, String(error));
    assert.ok(error.requestID);
  });
});

describe("retries", () => {
  it("a 429 is retried after the time it names", async () => {
    const started = performance.now();
    const answer = await chat({ model: "stub-429-once" }, { maxRetries: 2 });
    assert.ok(answer.choices[0].message.content);
    assert.ok(performance.now() - started < 15_000);
  });
});
