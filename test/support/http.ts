import { connect } from "node:net";
import { request } from "node:http";
import type { AccessKeyPair } from "../../src/lib/identity/access-key.ts";
import { formatUtc } from "../../src/lib/kernel/clock.ts";
import { signRequest, type Unsigned } from "./signing.ts";

/** What an HTTP server answered. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** The code of an S3 error document; the header where a HEAD has no document. */
export function errorCodeOf({ body, headers }: Answer): string {
  return /<Code>([^<]*)<\/Code>/.exec(body.toString())?.[1] ?? String(headers["x-amz-error-code"] ?? "");
}

/** Sends one request whose target and headers go out exactly as they are given. */
export async function sendHttp(
  port: number,
  options: {
    readonly method: string;
    readonly target: string;
    readonly headers?: readonly (readonly [string, string])[];
    readonly body?: Uint8Array;
  },
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const call = request(
    {
      host: "127.0.0.1",
      port,
      method: options.method,
      path: options.target,
      headers: (options.headers ?? []).flat(),
      setHost: false,
      agent: false,
    },
    (response) => {
      const pieces: Uint8Array[] = [];
      response.on("data", (piece: Uint8Array) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces) });
      });
    },
  );
  call.on("error", reject);
  call.end(options.body);
  return await promise;
}

/** Signs a request for now. */
export function signNow(port: number, pair: AccessKeyPair, request_: Unsigned): readonly (readonly [string, string])[] {
  const timestamp = formatUtc(Date.now()).replaceAll(/[-:]/g, "");
  const key = { ...pair, userId: "", scopes: [], revoked: false };
  return signRequest({ host: `127.0.0.1:${port}`, timestamp, ...request_ }, key, {
    date: timestamp.slice(0, 8),
    region: "us-east-1",
    service: "s3",
  }).headers;
}

/** Sends a request that is signed for now, its path as it is given. */
export async function sendSigned(port: number, pair: AccessKeyPair, unsigned: Unsigned): Promise<Answer> {
  const { method, path, query, body } = unsigned;
  const length: readonly (readonly [string, string])[] =
    method === "PUT" || method === "POST" ? [["content-length", String(body?.byteLength ?? 0)]] : [];
  return await sendHttp(port, {
    method,
    target: query === undefined || query === "" ? path : `${path}?${query}`,
    headers: [...signNow(port, pair, unsigned), ...length],
    ...(body === undefined ? {} : { body }),
  });
}

/** Sends bytes to a port and gives what came back until the connection ended. */
export async function sendBytes(port: number, bytes: string | Uint8Array): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let received = "";
  const socket = connect({ host: "127.0.0.1", port });
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    received += text;
  });
  socket.on("error", reject);
  socket.on("close", () => {
    resolve(received);
  });
  socket.write(bytes);
  return await promise;
}
