import type { Random } from "../../src/lib/kernel/random.ts";
import { type Line, lengthLines, mutate, pick, some, VALUES } from "./http-fuzz.ts";

/** The words that requests to a service are drawn from. */
export interface ServiceWords {
  readonly port: number;
  /** Values of `Authorization`; one that is let in should be among them more than once. */
  readonly credentials: readonly string[];
  readonly methods: readonly string[];
  readonly paths: readonly string[];
  readonly parameters: readonly string[];
  readonly headers: readonly Line[];
  readonly drawBody: (random: Random) => Buffer;
}

/** Draws one request, as it goes over the wire; the same bytes for the same seed. */
export function drawServiceRequest(random: Random, words: ServiceWords): Buffer {
  const parameters = some(random, words.parameters, 3).map((parameter) =>
    parameter.includes("=") ? parameter : `${parameter}=${pick(random, VALUES)}`,
  );
  const body = random.int(3) === 0 ? Buffer.alloc(0) : words.drawBody(random);
  const lines: readonly Line[] = [
    ["host", `127.0.0.1:${words.port}`],
    ...(random.int(8) === 0 ? [] : [["authorization", pick(random, words.credentials)] as const]),
    ...some(random, words.headers, 2),
    ...lengthLines(random, body),
    ["connection", "close"],
  ];
  const query = parameters.length === 0 ? "" : `?${parameters.join("&")}`;
  const head = [
    `${pick(random, words.methods)} ${pick(random, words.paths)}${query} HTTP/1.1`,
    ...lines.map(([name, value]) => `${name}: ${value}`),
  ];
  const request = Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`, "latin1"), body]);
  return random.int(6) === 0 ? mutate(random, request) : request;
}

/** What is wrong with the answer of a service that speaks JSON; null where nothing is. */
export function findServiceFault(received: string, isHanging: boolean): string | null {
  if (isHanging) return "neither an answer nor an end";
  const answer = received.replace(/^(?:HTTP\/1\.1 100 Continue\r\n\r\n)+/, "");
  if (answer === "") return null;
  const [, status = "0"] = /^HTTP\/1\.1 (\d{3}) /.exec(answer) ?? [];
  if (Number(status) < 200) return `no HTTP: ${answer.slice(0, 200)}`;
  if (Number(status) >= 500) return `status ${status}: ${answer.slice(0, 2_000)}`;
  const body = answer.slice(answer.indexOf("\r\n\r\n") + 4);
  // What is no HTTP, or asks for what there is not in it, Node.js answers by itself, without a content.
  if (Number(status) < 400 || body === "" || !/\r\ncontent-type:/i.test(answer)) return null;
  return body.includes('"error"') ? null : `an error that does not say what is wrong: ${answer.slice(0, 500)}`;
}
