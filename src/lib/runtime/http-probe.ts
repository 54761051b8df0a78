import type { IncomingHttpHeaders } from "node:http";
import { request } from "../kernel/node-http.ts";

/** What an HTTP endpoint of this box answered. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** At most 64 KiB of it. */
  readonly body: string;
}

const BODY_LENGTH_MAX = 65_536;

/** The address under which a listener on `host` is reached from this box. */
function localAddressOf(host: string): string {
  if (host === "0.0.0.0" || host === "") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}

/** What is asked, and of whom. */
export interface HttpQuestion {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** Default GET. No request has a body. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Asks once, without proxy or redirect. @returns null where nobody answers in time */
export async function probeHttp(
  target: HttpQuestion,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<HttpAnswer | null> {
  const stop =
    signal === undefined ? AbortSignal.timeout(timeoutMs) : AbortSignal.any([AbortSignal.timeout(timeoutMs), signal]);
  const { promise, resolve } = Promise.withResolvers<HttpAnswer | null>();
  const nobody = (): void => {
    resolve(null);
  };
  const { port, path, method = "GET", headers = {} } = target;
  const options = { host: localAddressOf(target.host), port, path, method, headers, signal: stop, agent: false };
  const call = request(options, (response) => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => {
      if (body.length < BODY_LENGTH_MAX) body += chunk;
    });
    response.on("error", nobody);
    response.on("end", () => {
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
    });
  });
  call.on("error", nobody);
  call.end();
  return await promise;
}
