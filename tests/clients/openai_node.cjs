// The official Node client against a running server: chat with media, stream with counts, files, models, errors.
// Usage: NODE_PATH=<folder>/node_modules node openai_node.cjs <base URL> <picture as data URL> <sound as base64> [<key>]
const assert = require("node:assert/strict");
const OpenAI = require("openai");

async function main([baseURL, picture, sound, apiKey = "none"]) {
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  const models = await client.models.list();
  const model = models.data[0].id;
  const messages = [
    {
      role: "user",
      content: [
        { type: "text", text: "Look: " },
        { type: "image_url", image_url: { url: picture } },
        { type: "input_audio", input_audio: { data: sound, format: "wav" } },
      ],
    },
  ];
  const options = { model, messages, temperature: 0, max_tokens: 8 };

  const whole = await client.chat.completions.create(options);
  assert.equal(whole.usage.prompt_tokens_details.image_tokens, 4);
  assert.equal(whole.usage.prompt_tokens_details.audio_tokens, 4);
  assert.ok(whole._request_id);

  let text = "";
  let usage = null;
  const stream = await client.chat.completions.create({ ...options, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual({ ...usage.prompt_tokens_details, cached_tokens: 0 }, { ...whole.usage.prompt_tokens_details, cached_tokens: 0 });

  const response = await client.responses.create({
    model,
    max_output_tokens: 8,
    temperature: 0,
    input: [{ role: "user", content: [{ type: "input_text", text: "Look: " }, { type: "input_image", image_url: picture, detail: "auto" }] }],
  });
  assert.equal(response.usage.input_tokens_details.image_tokens, 4);
  assert.equal(typeof response.output_text, "string");

  const bytes = Buffer.from(picture.split(",")[1], "base64");
  const file = await client.files.create({ file: await OpenAI.toFile(bytes, "picture.png"), purpose: "vision" });
  const named = [{ role: "user", content: [{ type: "text", text: "Look: " }, { type: "file", file: { file_id: file.id } }, messages[0].content[2]] }];
  const again = await client.chat.completions.create({ ...options, messages: named });
  assert.equal(again.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(again.usage.prompt_tokens, whole.usage.prompt_tokens);
  assert.equal(Buffer.compare(Buffer.from(await (await client.files.content(file.id)).arrayBuffer()), bytes), 0);
  assert.ok((await client.files.list()).data.some((one) => one.id === file.id));
  assert.equal((await client.files.delete(file.id)).deleted, true);
  await assert.rejects(client.files.retrieve(file.id), OpenAI.NotFoundError);

  const broken = [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } }] }];
  await assert.rejects(client.chat.completions.create({ ...options, messages: broken }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "messages[0].content[0]");
    assert.equal(error.code, "invalid_media");
    assert.equal(error.requestID, error.headers.get("x-request-id"));
    return true;
  });
  await assert.rejects(client.chat.completions.create({ ...options, model: "other" }), OpenAI.NotFoundError);
  await assert.rejects(client.embeddings.create({ model, input: "a" }), OpenAI.NotFoundError);
  console.log(`openai-node: model ${model}, ${whole.usage.prompt_tokens} prompt tokens, all checks passed`);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
