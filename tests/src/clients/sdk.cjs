// Calls functions with AWS's SDK for JavaScript as its users do. Argument: the endpoint. Prints one JSON document of what
// came back.
const { LambdaClient, InvokeCommand, ListFunctionsCommand, GetFunctionCommand, GetAliasCommand } = require("@aws-sdk/client-lambda");

const client = new LambdaClient({
  endpoint: process.argv[2],
  region: "us-east-1",
  credentials: { accessKeyId: "k", secretAccessKey: "s" },
  maxAttempts: 1,
});

async function invoke(input) {
  const answer = await client.send(new InvokeCommand(input));
  const payload = answer.Payload?.length ? Buffer.from(answer.Payload).toString() : undefined;
  const found = { StatusCode: answer.StatusCode, FunctionError: answer.FunctionError, ExecutedVersion: answer.ExecutedVersion };
  return { ...found, Payload: payload ? JSON.parse(payload) : null, LogResult: answer.LogResult !== undefined };
}

async function failed(input) {
  try {
    await client.send(new InvokeCommand(input));
  } catch (error) {
    return [error.name, error.$metadata?.httpStatusCode, error.Reason ?? null, error.message];
  }
}

(async () => {
  const name = { FunctionName: "echo" };
  console.log(JSON.stringify({
    sync: await invoke({ ...name, Payload: '{"a":1}', LogType: "Tail" }),
    alias: await invoke({ FunctionName: "echo:prod", Payload: "1" }),
    qualifier: await invoke({ ...name, Qualifier: "1", Payload: "1" }),
    event: await invoke({ ...name, InvocationType: "Event", Payload: "2" }),
    dry: await invoke({ ...name, InvocationType: "DryRun" }),
    error: await invoke({ ...name, Payload: '"fail"' }),
    missing: await failed({ FunctionName: "none" }),
    off: await failed({ FunctionName: "off" }),
    json: await failed({ ...name, Payload: "{" }),
    large: await failed({ ...name, InvocationType: "Event", Payload: `"${"x".repeat(1048575)}"` }),
    list: (await client.send(new ListFunctionsCommand({}))).Functions.map((each) => each.FunctionName),
    timeout: (await client.send(new GetFunctionCommand(name))).Configuration.Timeout,
    "alias of": (await client.send(new GetAliasCommand({ ...name, Name: "prod" }))).FunctionVersion,
  }));
})();
