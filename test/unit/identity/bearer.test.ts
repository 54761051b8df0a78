import { createHmac } from "node:crypto";
import fc from "fast-check";
import { SignJWT, UnsecuredJWT } from "jose";
import { describe, expect, test } from "vitest";
import { jwtVerifier } from "../../../src/lib/identity/bearer-jwt.ts";
import { serviceVerifier } from "../../../src/lib/identity/bearer-service.ts";
import {
  identify,
  parseAuthorization,
  scopesOf,
  type Verdict,
  type Verifier,
} from "../../../src/lib/identity/bearer.ts";
import { judgeSystemKey } from "../../../src/lib/identity/system-key.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { FakeClock } from "../../support/clock.ts";
import { property } from "../../support/property.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const USER = resolveUserId("alice@example.org");
const clock = new FakeClock();
const NOW = clock.nowMs() / 1_000;

function brief(verdict: Verdict): string {
  if (verdict.state === "accepted") return `${verdict.caller.userId} ${[...verdict.caller.scopes].join(" ")}`;
  return verdict.state === "refused" ? `refused: ${verdict.because}` : "absent";
}

async function token(claims: Readonly<Record<string, unknown>>, secret = SECRET, alg = "HS256"): Promise<string> {
  return await new SignJWT({ ...claims }).setProtectedHeader({ alg }).sign(Buffer.from(secret));
}

async function verifyJwt(bearer: string, isRevoked = false): Promise<string> {
  const { verify } = jwtVerifier({ secret: new Secret(SECRET), clock, isRevoked: async () => isRevoked });
  return brief(await verify({ bearer, serviceAuth: null }));
}

describe("Authorization", () => {
  test.each([
    ["Bearer abc.def-_~+/=", "abc.def-_~+/="],
    ["bearer abc", "abc"],
    ["Bearer  abc ", "abc"],
    ["Bearer", null],
    ["Bearer ", null],
    ["Bearer a b", null],
    ["Basic YTpi", null],
    ["abc", null],
    [`Bearer ${"x".repeat(8_193)}`, null],
  ])("%s", (header, expected) => {
    expect(parseAuthorization(header)).toBe(expected);
  });
});

test.each([
  ["storage:read", "read"],
  ["storage:write", "write"],
  ["storage:read storage:write", "read write"],
  ["storage:*", "read write"],
  ["*", "read write admin"],
  ["admin", "admin"],
  ["", ""],
  ["storage", ""],
  ["STORAGE:READ", ""],
])("the scope %j gives the rights %j", (text, rights) => {
  expect([...scopesOf(text)].join(" ")).toBe(rights);
});

describe("verifiers", () => {
  const says = (verdict: Verdict): Verifier => ({ verify: async () => verdict });
  const caller = { userId: USER, scopes: scopesOf("*"), by: "jwt" } as const;
  const absent = says({ state: "absent" });
  const refused = says({ state: "refused", because: "expired" });
  const accepted = says({ state: "accepted", caller });
  const some = { bearer: "x", serviceAuth: null };

  test("the first that knows a credential decides, for and against", async () => {
    expect((await identify([absent, accepted, refused], some)).state).toBe("accepted");
    expect((await identify([absent, refused, accepted], some)).state).toBe("refused");
  });

  test("a credential that nobody knows is refused, and none is absent", async () => {
    expect((await identify([absent], some)).state).toBe("refused");
    expect((await identify([], some)).state).toBe("refused");
    expect((await identify([absent], { bearer: null, serviceAuth: null })).state).toBe("absent");
  });

  test("one that could not look lets nobody in", async () => {
    const broken: Verifier = { verify: async () => await Promise.reject(new Error("no database")) };
    await expect(identify([broken, accepted], some)).rejects.toThrow("no database");
  });
});

describe("a token of the fleet", () => {
  test("names its user by e-mail address or by id, in any case", async () => {
    for (const sub of ["alice@example.org", "Alice@Example.org", USER]) {
      expect(await verifyJwt(await token({ sub, scope: "storage:*" }))).toBe(`${USER} read write`);
    }
  });

  test("is good without an end, and until the second in which it ends", async () => {
    expect(await verifyJwt(await token({ sub: USER, exp: NOW + 1 }))).toBe(`${USER} `);
    expect(await verifyJwt(await token({ sub: USER, exp: NOW }))).toBe("refused: the token has expired");
  });

  test.each([
    ["of another secret", async () => await token({ sub: USER }, "another secret another secret!!!")],
    ["of another algorithm", async () => await token({ sub: USER }, SECRET.repeat(2), "HS512")],
    ["without a signature", async () => new UnsecuredJWT({ sub: USER }).encode() + "AA"],
    ["not yet good", async () => await token({ sub: USER, nbf: NOW + 60 })],
    ["of three dots and nothing", async () => await Promise.resolve("a.b.c")],
  ])("%s is refused", async (_name, make) => {
    expect(await verifyJwt(await make())).toMatch(
      /^refused: the token is not signed by this federation, or is damaged/,
    );
  });

  test.each([
    ["for an audience", { sub: USER, aud: ["another"] }],
    ["of nobody", { scope: "*" }],
    ["of a wallet", { sub: `0x${"ab".repeat(20)}` }],
    ["of something that is no text", { sub: USER, scope: ["*"] }],
  ])("%s is refused, however good its signature", async (_name, claims) => {
    expect(await verifyJwt(await token(claims))).toBe("refused: the token names no user of this federation");
  });

  test("that was revoked is refused, and so is every other spelling of its signature", async () => {
    const good = await token({ sub: USER, scope: "*" });
    expect(await verifyJwt(good, true)).toBe("refused: the key was revoked");
    const last = good.at(-1) ?? "";
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const twins = Array.from(alphabet).filter(
      (char) => char !== last && Math.floor(alphabet.indexOf(char) / 4) === Math.floor(alphabet.indexOf(last) / 4),
    );
    for (const twin of twins.map((char) => `${good.slice(0, -1)}${char}`)) {
      expect(await verifyJwt(twin)).toMatch(/^refused/);
    }
    expect(twins).toHaveLength(3);
  });

  test("is left to other verifiers where it has not three parts", async () => {
    for (const text of ["session", "a.b", "a.b.c.d", "fula-eip712.x"]) expect(await verifyJwt(text)).toBe("absent");
  });

  test("with any character changed is never taken", async () => {
    const good = await token({ sub: USER, scope: "*" });
    await fc.assert(
      fc.asyncProperty(
        fc.nat(good.length - 1),
        fc.constantFrom("A", "a", "0", "_", "-", ".", "z"),
        async (at, char) => {
          fc.pre(good[at] !== char);
          expect(await verifyJwt(good.slice(0, at) + char + good.slice(at + 1))).toMatch(/^(refused|absent)/);
        },
      ),
      property(100),
    );
  });
});

describe("X-Fula-Service-Auth", () => {
  const sign = (uid: string, exp: string, secret = SECRET): string => {
    const text = `v1.${Buffer.from(uid).toString("base64url")}.${exp}`;
    return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
  };
  const verify = async (serviceAuth: string, secret: Secret | null = new Secret(SECRET)): Promise<string> =>
    brief(await serviceVerifier(secret, clock).verify({ bearer: null, serviceAuth }));

  test("names the gateway's user, for whom it reads and writes and never administrates", async () => {
    expect(await verify(sign("alice@example.org", String(NOW + 5)))).toBe(`${USER} read write`);
    expect(await verify(sign(USER, String(NOW + 5)))).toBe(`${USER} read write`);
  });

  test("is refused late, of another secret, of nobody, in another form, and where no secret is set", async () => {
    const good = sign(USER, String(NOW + 5));
    expect(await verify(sign(USER, String(NOW)))).toMatch(/has expired/);
    expect(await verify(sign(USER, String(NOW + 5), "other"))).toMatch(/signature/);
    expect(await verify(sign("nobody", String(NOW + 5)))).toMatch(/names no user/);
    for (const bad of [
      "",
      "v1",
      good.replace("v1", "v2"),
      `${good}.x`,
      good.replace(String(NOW + 5), String(NOW + 6)),
    ]) {
      expect(await verify(bad)).toMatch(/^refused/);
    }
    expect(await verify(good, null)).toMatch(/FULA_PIN_SERVICE_SECRET/);
  });

  test("gives way to a bearer token beside it", async () => {
    const serviceAuth = sign(USER, String(NOW + 5));
    const verdict = await serviceVerifier(new Secret(SECRET), clock).verify({ bearer: "x", serviceAuth });
    expect(verdict.state).toBe("absent");
  });
});

test("a system key is valid, wrong or absent, and every one is wrong where none is set", () => {
  const own = new Secret("the system key");
  expect(judgeSystemKey(undefined, own)).toBe("absent");
  expect(judgeSystemKey("the system key", own)).toBe("valid");
  for (const wrong of ["", "the system ke", "the system keyy", "THE SYSTEM KEY"]) {
    expect(judgeSystemKey(wrong, own)).toBe("wrong");
  }
  expect(judgeSystemKey("", null)).toBe("wrong");
  expect(judgeSystemKey("", new Secret(""))).toBe("wrong");
});
