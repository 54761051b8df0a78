import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { BLOCK_BYTES_MAX, nameBlock, uploadObject, type UploadOutcome } from "../../../src/lib/ingest/upload.ts";
import type { Fetch } from "../../../src/lib/ingest/upload-requests.ts";
import { objectUrl, parseBaseUrl, parseObjectName } from "../../../src/lib/ingest/upload-target.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";

const GATEWAY = "https://gateway.test";
const NODES = ["https://node-1.test", "https://node-2.test"];
const BYTES = new Uint8Array(randomBytes(1_000));
const BLOCK = nameBlock(BYTES);

interface Request {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes of its body. */
  readonly sent: number;
}

/** What a server of a test answers; an error = nobody is there. */
type Answer = (request: Request) => Response | Error;

const taken: Answer = ({ url }) => Response.json({ cid: url.searchParams.get("cid"), size: 1 });
const mapped: Answer = ({ headers }) =>
  new Response(null, { headers: { etag: `"${headers["x-amz-meta-fula-remote-cid"]}"` } });
const stored: Answer = () => new Response(null, { headers: { etag: '"whole"' } });
const refused =
  (status: number, code: string): Answer =>
  () =>
    new Response(null, { status, headers: { "x-amz-error-code": code } });

interface Servers {
  readonly capabilities?: Answer;
  readonly nodes?: readonly Answer[];
  readonly mapping?: Answer;
  readonly whole?: Answer;
}

/** The network of one upload, and what went over it. */
function network(servers: Servers): { readonly fetch: Fetch; readonly requests: Request[] } {
  const { capabilities = () => Response.json({ remoteCidPut: true }), nodes = [taken, taken] } = servers;
  const { mapping = mapped, whole = stored } = servers;
  const requests: Request[] = [];
  const answerOf = (request: Request): Answer => {
    if (request.url.origin !== GATEWAY) return nodes[NODES.indexOf(request.url.origin)] ?? taken;
    if (request.url.pathname === "/fula/capabilities") return capabilities;
    return "x-amz-meta-fula-remote-cid" in request.headers ? mapping : whole;
  };
  const fetch: Fetch = async (url, { method = "GET", headers, body }) => {
    const sent = body === undefined ? 0 : (await new Response(body).arrayBuffer()).byteLength;
    const request = { method, url: new URL(url), headers: Object.fromEntries(new Headers(headers)), sent };
    requests.push(request);
    const answer = answerOf(request)(request);
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { fetch, requests };
}

async function upload(
  { fetch }: ReturnType<typeof network>,
  content: Blob = new Blob([BYTES]),
  signal: AbortSignal = new AbortController().signal,
): Promise<UploadOutcome> {
  const request = { gateway: new URL(GATEWAY), nodes: NODES.map((url) => new URL(url)), bucket: "photos" };
  return await uploadObject(
    { ...request, key: "a b/ü.jpg", content, contentType: "image/jpeg" },
    { fetch, bearer: new Secret("token"), signal },
  );
}

describe("an upload by way of a storage node", () => {
  test("asks the gateway, gives the node the bytes, and the gateway their name and size", async () => {
    const net = network({});
    expect(await upload(net)).toEqual({
      via: "node",
      node: "https://node-1.test",
      etag: BLOCK.cid,
      sizeBytes: 1_000,
      fellBack: null,
    });
    expect(
      net.requests.map(({ method, url, sent }) => `${method} ${url.host}${url.pathname}${url.search} ${sent}`),
    ).toEqual([
      "GET gateway.test/fula/capabilities 0",
      `PUT node-1.test/v0/block?cid=${BLOCK.cid} 1000`,
      "PUT gateway.test/photos/a%20b/%C3%BC.jpg 0",
    ]);
    // The question is everybody's.
    expect(net.requests.map(({ headers }) => headers["authorization"])).toEqual([
      undefined,
      "Bearer token",
      "Bearer token",
    ]);
    expect(net.requests.at(-1)?.headers).toMatchObject({
      "content-type": "image/jpeg",
      "x-amz-meta-fula-remote-cid": BLOCK.cid,
      "x-amz-meta-fula-remote-size": "1000",
    });
  });

  test("goes to the next node where one is full, too busy, or not there", async () => {
    const full = network({ nodes: [() => Response.json({ error: "no room" }, { status: 402 }), taken] });
    expect(await upload(full)).toMatchObject({ via: "node", node: "https://node-2.test", fellBack: null });
    const gone = network({ nodes: [() => new TypeError("fetch failed"), taken] });
    expect(await upload(gone)).toMatchObject({ via: "node", node: "https://node-2.test", fellBack: null });
  });

  test.each<[string, Servers, string, RegExp]>([
    ["an old gateway", { capabilities: () => new Response("", { status: 404 }) }, "capabilities", /does not say/],
    [
      "a gateway with mapping off",
      { capabilities: () => Response.json({ remoteCidPut: false }) },
      "capabilities",
      /names of blocks/,
    ],
    ["a gateway that answers no JSON", { capabilities: () => new Response("<html>") }, "capabilities", /does not say/],
    [
      "a gateway that is not there for the question",
      { capabilities: () => new TypeError("fetch failed") },
      "capabilities",
      /does not answer/,
    ],
    [
      "nodes that refuse",
      { nodes: [() => Response.json({ error: "no room" }, { status: 402 }), () => new Response("", { status: 500 })] },
      "ingest",
      /402: no room; .*500/,
    ],
    [
      "a node that took something else",
      { nodes: [() => Response.json({ cid: "bafkqaaa" }), () => new TypeError("x")] },
      "ingest",
      /took bafkqaaa/,
    ],
    ["a mapping that is refused", { mapping: refused(409, "OperationAborted") }, "mapping", /409 OperationAborted/],
    [
      "a mapping to something else",
      { mapping: () => new Response(null, { headers: { etag: '"bafkqaaa"' } }) },
      "mapping",
      /made bafkqaaa/,
    ],
    ["a mapping without an ETag", { mapping: () => new Response(null) }, "mapping", /answers 200/],
  ])("sends the whole object for %s, and says why", async (_, servers, at, because) => {
    const net = network(servers);
    expect(await upload(net)).toEqual({
      via: "gateway",
      node: null,
      etag: "whole",
      sizeBytes: 1_000,
      fellBack: { at, because: expect.stringMatching(because) },
    });
    expect(net.requests.at(-1)).toMatchObject({ method: "PUT", sent: 1_000 });
    expect(net.requests.at(-1)?.headers).toMatchObject({ "content-length": "1000", "content-type": "image/jpeg" });
  });

  test.each([0, BLOCK_BYTES_MAX + 1])("does not ask nodes for an object of %i bytes", async (size) => {
    const net = network({});
    const outcome = await upload(net, new Blob([new Uint8Array(size)]));
    expect(outcome).toMatchObject({ via: "gateway", sizeBytes: size, fellBack: { at: "size" } });
    expect(net.requests).toHaveLength(1);
  });

  test.each<[string, Answer, string]>([
    ["a refusal", refused(403, "AccountProblem"), "FULA_UPLOAD_REFUSED"],
    ["a bucket that is not there", refused(404, "NoSuchBucket"), "FULA_UPLOAD_REFUSED"],
    ["too many requests", refused(429, "SlowDown"), "FULA_UPLOAD_SILENT"],
    ["an outage", refused(503, "ServiceUnavailable"), "FULA_UPLOAD_SILENT"],
    ["silence", () => new TypeError("fetch failed"), "FULA_UPLOAD_SILENT"],
  ])("fails for %s of the whole object, with a code that says whether to try again", async (_, whole, code) => {
    await expect(
      upload(network({ nodes: [() => new TypeError("x"), () => new TypeError("x")], whole })),
    ).rejects.toMatchObject({ code });
  });

  test("ends with the signal, whatever step it is at, and falls back to nothing", async () => {
    for (const at of ["capabilities", "nodes", "mapping", "whole"] as const) {
      const end = new AbortController();
      const stop: Answer = () => {
        end.abort(new Error("Ctrl-C"));
        return new TypeError("aborted");
      };
      const servers = at === "nodes" ? { nodes: [stop, taken] } : { [at]: stop };
      const net = network(
        at === "whole" ? { ...servers, nodes: [() => new TypeError("x"), () => new TypeError("x")] } : servers,
      );
      await expect(upload(net, new Blob([BYTES]), end.signal)).rejects.toThrow("Ctrl-C");
      expect(net.requests).toHaveLength({ capabilities: 1, nodes: 2, mapping: 3, whole: 4 }[at]);
    }
  });
});

describe("where an upload goes", () => {
  test.each(["s3://bucket/key", "s3://bucket/a/b c/", "s3://bucket//"])("%s names an object", (text) => {
    const { bucket, key } = parseObjectName(text);
    expect(`s3://${bucket}/${key}`).toBe(text);
  });

  test.each(["bucket/key", "s3://bucket", "s3://bucket/", "s3:///key", "https://a/b"])("%s names none", (text) => {
    expect(() => parseObjectName(text)).toThrow(expect.objectContaining({ code: "FULA_USAGE" }));
  });

  test.each(["a/../b", "./a", "..", "a/."])("the key %s, which URLs would change, is refused", (key) => {
    expect(() => objectUrl(new URL(GATEWAY), { bucket: "photos", key })).toThrow(
      expect.objectContaining({ code: "FULA_USAGE" }),
    );
  });

  test("a gateway may lie below a path", () => {
    expect(objectUrl(new URL("https://host.test/s3/"), { bucket: "b", key: "k?x#y%2F" }).href).toBe(
      "https://host.test/s3/b/k%3Fx%23y%252F",
    );
  });

  test.each([
    "http://gateway.test",
    "ftp://gateway.test",
    "gateway.test",
    "https://user@gateway.test",
    "https://gateway.test/?x=1",
  ])("a credential is not sent to %s", (text) => {
    expect(() => parseBaseUrl(text, false)).toThrow(expect.objectContaining({ code: "FULA_USAGE" }));
  });

  test("plain HTTP is for this box, or where it is asked for", () => {
    for (const text of ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000"]) {
      expect(parseBaseUrl(text, false).href).toBe(`${text}/`);
    }
    expect(parseBaseUrl("http://10.0.0.1:9000", true).host).toBe("10.0.0.1:9000");
  });
});
