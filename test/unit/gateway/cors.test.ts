import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { describe, expect, test } from "vitest";
import { type Answer, errorCodeOf, sendHttp, sendSigned } from "../../support/http.ts";
import { type GatewayUser, type MemoryGateway, startMemoryGateway } from "../../support/memory-gateway.ts";

const PAGE = ["origin", "https://app.example.org"] as const;
const ASKED = "authorization,x-amz-content-sha256,x-amz-meta-color,if-none-match";
const PREFLIGHT = [
  ["host", "gateway"],
  PAGE,
  ["access-control-request-method", "PUT"],
  ["access-control-request-headers", ASKED],
] as const;

async function begin(corsOrigins: readonly string[]): Promise<MemoryGateway & { readonly alice: GatewayUser }> {
  const gateway = await startMemoryGateway({ corsOrigins });
  const alice = gateway.user("alice@example.com");
  await alice.client.send(new CreateBucketCommand({ Bucket: "photos" }));
  return Object.assign(gateway, { alice });
}

function namesOf({ headers }: Answer): readonly string[] {
  return String(headers["access-control-expose-headers"]).split(", ");
}

describe("a page in a browser", () => {
  test("is told without a key what it may send, to any address", async () => {
    await using gateway = await begin(["*"]);
    for (const target of ["/photos/a", "/", "/healthz", "/no%zz"]) {
      const { status, headers } = await sendHttp(gateway.port, { method: "OPTIONS", target, headers: PREFLIGHT });
      expect([target, status]).toEqual([target, 200]);
      expect(headers).toMatchObject({
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, HEAD, PUT, POST, DELETE",
        "access-control-allow-headers": ASKED,
        "access-control-max-age": "3600",
      });
      expect(headers["access-control-allow-credentials"]).toBeUndefined();
    }
  });

  test("may read every answer with all of its headers, refusals too", async () => {
    await using gateway = await begin(["*"]);
    const { pair } = gateway.alice;
    const headers = [PAGE, ["x-amz-meta-color", "blue"]] as const;
    const path = "/photos/a";
    await sendSigned(gateway.port, pair, { method: "PUT", path, headers, body: Buffer.from("x") });
    const got = await sendSigned(gateway.port, pair, { method: "GET", path, headers: [PAGE] });
    expect(got.headers["access-control-allow-origin"]).toBe("*");
    expect(namesOf(got)).toEqual(
      expect.arrayContaining(["etag", "content-length", "content-type", "last-modified", "x-amz-meta-color"]),
    );
    expect(namesOf(got)).toEqual(expect.arrayContaining(["x-amz-request-id", "x-fula-cid"]));
    const absent = await sendSigned(gateway.port, pair, { method: "HEAD", path: "/photos/no", headers: [PAGE] });
    expect([absent.status, absent.headers["access-control-allow-origin"]]).toEqual([404, "*"]);
    expect(namesOf(absent)).toContain("x-amz-error-code");
    const nobody = await sendHttp(gateway.port, { method: "GET", target: path, headers: [["host", "gateway"], PAGE] });
    expect([nobody.status, nobody.headers["access-control-allow-origin"]]).toEqual([403, "*"]);
  });

  test("of another origin than those that are named is let nowhere", async () => {
    await using gateway = await begin(["https://app.example.org"]);
    const { pair } = gateway.alice;
    const list = async (origin: string): Promise<Answer> =>
      await sendSigned(gateway.port, pair, { method: "GET", path: "/", headers: [["origin", origin]] });
    expect((await list("https://app.example.org")).headers).toMatchObject({
      "access-control-allow-origin": "https://app.example.org",
      vary: "Origin",
    });
    for (const origin of ["https://evil.example", "null", "https://app.example.org.evil.example"]) {
      const { status, headers } = await list(origin);
      expect([origin, status, headers["access-control-allow-origin"]]).toEqual([origin, 200, undefined]);
      const asking = PREFLIGHT.map(([name, value]) => [name, name === "origin" ? origin : value] as const);
      const answer = await sendHttp(gateway.port, { method: "OPTIONS", target: "/photos/a", headers: asking });
      expect([answer.status, errorCodeOf(answer)]).toEqual([403, "AccessForbidden"]);
    }
  });

  test("is let nowhere where no origin is named, and nobody else is told of it", async () => {
    await using gateway = await begin([]);
    const answer = await sendHttp(gateway.port, { method: "OPTIONS", target: "/photos/a", headers: PREFLIGHT });
    expect([answer.status, errorCodeOf(answer)]).toEqual([403, "AccessForbidden"]);
    const got = await sendSigned(gateway.port, gateway.alice.pair, { method: "GET", path: "/", headers: [PAGE] });
    expect([got.status, got.headers["access-control-allow-origin"], got.headers["vary"]]).toEqual([
      200,
      undefined,
      undefined,
    ]);
  });

  test("gets no header back that it has asked for in a way that is none", async () => {
    await using gateway = await begin(["*"]);
    const asking = [...PREFLIGHT.slice(0, 3), ["access-control-request-headers", "a b; c"] as const];
    const { status, headers } = await sendHttp(gateway.port, { method: "OPTIONS", target: "/", headers: asking });
    expect([status, headers["access-control-allow-headers"]]).toEqual([200, undefined]);
  });
});

describe("a client that is no page", () => {
  test("gets nothing about pages, and OPTIONS is no method of S3", async () => {
    await using gateway = await begin(["*"]);
    const { pair } = gateway.alice;
    const got = await sendSigned(gateway.port, pair, { method: "GET", path: "/" });
    expect([got.headers["access-control-allow-origin"], got.headers["access-control-expose-headers"]]).toEqual([
      undefined,
      undefined,
    ]);
    const options = await sendSigned(gateway.port, pair, { method: "OPTIONS", path: "/photos/a" });
    expect([options.status, errorCodeOf(options)]).toEqual([405, "MethodNotAllowed"]);
  });
});
