// Runs a Node handler against Lambda's Runtime API, in place of Lambda's own runtime client.
// Arguments: the handler's file and the name of the function in it. The working directory is the task root.
"use strict";
const http = require("node:http");
const path = require("node:path");
const { inspect, format } = require("node:util");
const { pathToFileURL } = require("node:url");
const { spawnSync } = require("node:child_process");

const [file, name] = process.argv.slice(1);
const api = new URL(`http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/`);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, resource, body, kind) {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": "application/json" };
    if (body !== undefined) headers["Content-Length"] = Buffer.byteLength(body);
    if (kind) headers["Lambda-Runtime-Function-Error-Type"] = kind;
    const request = http.request(new URL(resource, api), { method, agent, headers }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts) }));
      answer.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

// Whatever was thrown, as type, message and trace.
function failureOf(thrown, kind) {
  if (thrown instanceof Error || (thrown && typeof thrown.stack === "string")) {
    return { errorType: kind ?? thrown.name, errorMessage: String(thrown.message), trace: String(thrown.stack).split("\n") };
  }
  return { errorType: kind ?? typeof thrown, errorMessage: typeof thrown === "string" ? thrown : inspect(thrown), trace: [] };
}

let requestId = "";

// Lines as Lambda writes them: time, request id, level, text.
function line(level, text) {
  process.stdout.write(`${new Date().toISOString()}\t${requestId || "undefined"}\t${level}\t${text}\n`);
}
for (const [method, level] of Object.entries({ log: "INFO", info: "INFO", debug: "DEBUG", warn: "WARN", error: "ERROR", trace: "TRACE" })) {
  console[method] = (...values) => line(level, format(...values));
}

async function load() {
  const module = path.relative(process.cwd(), file);
  let loaded;
  try {
    loaded = await import(pathToFileURL(file).href);
  } catch (error) {
    if (error instanceof SyntaxError) {
      // Errors of ES modules do not say where; the checker does.
      const said = spawnSync(process.execPath, ["--check", file], { encoding: "utf8" }).stderr?.split("\n")[0] ?? "";
      const place = said.replace(/^file:\/\//, "");
      const where = place.startsWith("/") ? place : module;
      throw Object.assign(failureOf(error, "Runtime.UserCodeSyntaxError"), { errorMessage: `SyntaxError: ${error.message} (${where})` });
    }
    if (error?.code === "ERR_MODULE_NOT_FOUND" || error?.code === "MODULE_NOT_FOUND") {
      throw Object.assign(failureOf(error, "Runtime.ImportModuleError"), { errorMessage: `Error: ${error.message}` });
    }
    throw failureOf(error);
  }
  // The functions of a CommonJS module that Node's scan did not see are those of its default export.
  const handler = loaded[name] ?? loaded.default?.[name];
  if (typeof handler !== "function") {
    const state = handler === undefined ? "is undefined or not exported" : "is not a function";
    throw { errorType: "Runtime.HandlerNotFound", errorMessage: `${module}: ${name} ${state}`, trace: [] };
  }
  return handler;
}

function contextOf(headers) {
  const environment = process.env;
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const client = headers["lambda-runtime-client-context"];
  return {
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    functionName: environment.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: environment.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: environment.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: environment.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: environment.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: client ? JSON.parse(client) : undefined,
    identity: undefined,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(deadline - Date.now(), 0),
  };
}

// Ends the call that runs with null: nothing is left that could end it.
let nothingLeft;
process.on("beforeExit", () => nothingLeft?.());

function run(handler, event, context) {
  return new Promise((resolve, reject) => {
    nothingLeft = () => resolve(null);
    const result = handler(event, context, (error, value) => (error ? reject(error) : resolve(value)));
    // As in Lambda, what else it returns is not its answer: it calls back, or there is none.
    if (typeof result?.then === "function") result.then(resolve, reject);
  });
}

async function report(resource, failure) {
  line("ERROR", `Invoke Error\t${JSON.stringify(failure)}`);
  await call("POST", resource, JSON.stringify(failure), failure.errorType);
}

for (const [event, kind, code] of [["uncaughtException", undefined, 129], ["unhandledRejection", "Runtime.UnhandledPromiseRejection", 128]]) {
  process.on(event, (thrown) => {
    const resource = requestId ? `invocation/${requestId}/error` : "init/error";
    report(resource, failureOf(thrown, kind)).finally(() => process.exit(code));
  });
}

async function main() {
  let handler;
  try {
    handler = await load();
  } catch (failure) {
    await report("init/error", failure);
    process.exit(1);
  }
  for (;;) {
    const next = await call("GET", "invocation/next");
    if (next.status !== 200) process.exit(1);
    requestId = next.headers["lambda-runtime-aws-request-id"];
    process.env._X_AMZN_TRACE_ID = next.headers["lambda-runtime-trace-id"] ?? "";
    let answer, failure;
    try {
      const result = await run(handler, JSON.parse(next.body), contextOf(next.headers));
      answer = JSON.stringify(result ?? null) ?? "null";
    } catch (thrown) {
      failure = failureOf(thrown);
    }
    nothingLeft = undefined;
    if (failure) await report(`invocation/${requestId}/error`, failure);
    else await call("POST", `invocation/${requestId}/response`, answer);
  }
}

main();
