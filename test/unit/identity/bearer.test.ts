import { createHash, createHmac } from "node:crypto";
import fc from "fast-check";
import { SignJWT, UnsecuredJWT } from "jose";
import { describe, expect, test } from "vitest";
import { type JwtFacts, jwtVerifier } from "../../../src/lib/identity/bearer-jwt.ts";
import { serviceVerifier } from "../../../src/lib/identity/bearer-service.ts";
import {
  type Account,
  createIdentities,
  identify,
  type Identity,
  type IdentityParts,
  parseAuthorization,
  scopesOf,
  type Verdict,
  type Verifier,
} from "../../../src/lib/identity/bearer.ts";
import { ownAccountOf, subjectText } from "../../../src/lib/identity/subject.ts";
import { judgeSystemKey } from "../../../src/lib/identity/system-key.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { FakeClock } from "../../support/clock.ts";
import { PROPERTY_TIMEOUT_MS, property } from "../../support/property.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const USER = resolveUserId("alice@example.org");
const clock = new FakeClock();
const NOW = clock.nowMs() / 1_000;

const FACTS: JwtFacts = {
  keyring: { verifying: async (kid) => (kid === null ? [{ kid: "env", secret: new Secret(SECRET) }] : []) },
  clock,
  withoutExpiry: true,
  isRevoked: async () => false,
};

function brief(verdict: Verdict): string {
  if (verdict.state === "accepted") {
    const { subject, scopes } = verdict.identity;
    return `${subjectText(subject)} ${[...scopes].join(" ")}`;
  }
  return verdict.state === "refused" ? `refused: ${verdict.because}` : "absent";
}

async function token(claims: Readonly<Record<string, unknown>>, secret = SECRET, alg = "HS256"): Promise<string> {
  return await new SignJWT({ ...claims }).setProtectedHeader({ alg }).sign(Buffer.from(secret));
}

async function verifyJwt(bearer: string, isRevoked = false): Promise<string> {
  const { verify } = jwtVerifier({ ...FACTS, isRevoked: async () => isRevoked });
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
  const identity: Identity = {
    subject: { kind: "user", userId: USER },
    scopes: scopesOf("*"),
    by: "jwt",
    credential: { digest: "d1", issuedMs: null, expiresMs: null },
  };
  const absent = says({ state: "absent" });
  const refused = says({ state: "refused", because: "expired" });
  const accepted = says({ state: "accepted", identity });
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

  test("a wallet keeps its buckets, and its account is the one that it is linked to", async () => {
    const wallet = "0x17c5185167401ed00cf5f5b2fc97d9bbfdb7d025";
    const signed = says({ state: "accepted", identity: { ...identity, subject: { kind: "wallet", wallet } } });
    const accountOf = async (text: string): Promise<Account> => ({
      userId: text === wallet ? USER : "",
      staleMs: null,
    });
    const denials: IdentityParts["denials"] = { judge: () => "allowed" };
    expect(await createIdentities({ verifiers: [signed], denials, accountOf }).identify(some)).toMatchObject({
      state: "accepted",
      // The owner that the fleet's gateway gives this wallet.
      caller: { userId: USER, ownerId: "05e13073153c9b4ce858be47ea8ab714" },
    });
    expect(
      await createIdentities({ verifiers: [], denials, accountOf }).admit({
        ...identity,
        subject: { kind: "wallet", wallet },
      }),
    ).toMatchObject({ state: "accepted", caller: { userId: USER } });
    expect(ownAccountOf(wallet)).toMatch(/^[0-9a-f]{64}$/);
  });

  test("what they accept is refused all the same where it was revoked, and where nobody can say", async () => {
    const accountOf = async (): Promise<Account> => await Promise.reject(new Error("not asked"));
    const denied = createIdentities({ verifiers: [accepted], denials: { judge: () => "denied" }, accountOf });
    const revoked = { state: "refused", because: "the credential was revoked" };
    expect(await denied.identify(some)).toEqual(revoked);
    expect(await denied.admit(identity)).toEqual(revoked);
    const judge = (): never => {
      throw new Error("stale");
    };
    const blind = createIdentities({ verifiers: [accepted], denials: { judge }, accountOf });
    await expect(blind.identify(some)).rejects.toThrow("stale");
    await expect(blind.admit(identity)).rejects.toThrow("stale");
  });
});

describe("a token of the fleet", () => {
  test("names its user by e-mail address, by id, or by wallet, in any case", async () => {
    const wallet = `0x${"ab".repeat(20)}`;
    expect(await verifyJwt(await token({ sub: `0x${"AB".repeat(20)}`, scope: "storage:*" }))).toBe(
      `${wallet} read write`,
    );
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
    ["of half a wallet", { sub: `0x${"ab".repeat(10)}` }],
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

  test("that names no end is refused where the settings ask for one", async () => {
    const { verify } = jwtVerifier({ ...FACTS, withoutExpiry: false });
    const without = await verify({ bearer: await token({ sub: USER }), serviceAuth: null });
    expect(brief(without)).toBe("refused: the token names no end (identity.jwtWithoutExpiry)");
    expect(brief(await verify({ bearer: await token({ sub: USER, exp: NOW + 1 }), serviceAuth: null }))).toBe(
      `${USER} `,
    );
  });

  test("was issued by a clock that may be ahead of ours, but not by more", async () => {
    expect(await verifyJwt(await token({ sub: USER, iat: NOW + 300 }))).toBe(`${USER} `);
    expect(await verifyJwt(await token({ sub: USER, iat: NOW + 301 }))).toMatch(/^refused: .*in the future/);
  });

  test("that names a key is checked under it alone", async () => {
    const keys = { one: "1".repeat(32), two: "2".repeat(32) };
    const all = Object.entries(keys).map(([kid, secret]) => ({ kid, secret: new Secret(secret) }));
    const keyring: JwtFacts["keyring"] = {
      verifying: async (kid) => all.filter((key) => kid === null || key.kid === kid),
    };
    const { verify } = jwtVerifier({ ...FACTS, keyring });
    const signed = async (header: { readonly kid?: unknown }, secret: string): Promise<string> => {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- headers that no good library makes
      const protectedHeader = { alg: "HS256", ...header } as { alg: string };
      const bearer = await new SignJWT({ sub: USER }).setProtectedHeader(protectedHeader).sign(Buffer.from(secret));
      return (await verify({ bearer, serviceAuth: null })).state;
    };
    expect(await Promise.all([signed({ kid: "one" }, keys.one), signed({}, keys.one), signed({}, keys.two)])).toEqual([
      "accepted",
      "accepted",
      "accepted",
    ]);
    for (const [kid, secret] of [
      ["two", keys.one],
      ["three", keys.one],
      ["", keys.one],
      [1, keys.one],
    ] as const) {
      expect([kid, await signed({ kid }, secret)]).toEqual([kid, "refused"]);
    }
  });

  test("has one digest, that of what was signed", async () => {
    const { verify } = jwtVerifier(FACTS);
    const good = await token({ sub: USER, scope: "*" });
    const verdict = await verify({ bearer: good, serviceAuth: null });
    const signed = createHash("sha256").update(good.split(".", 2).join(".")).digest("hex");
    expect(verdict.state === "accepted" ? verdict.identity.credential.digest : null).toBe(signed);
  });

  test("is left to other verifiers where it has not three parts", async () => {
    for (const text of ["session", "a.b", "a.b.c.d", "fula-eip712.x"]) expect(await verifyJwt(text)).toBe("absent");
  });

  test(
    "with any character changed is never taken",
    async () => {
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
        property(100, 300_000),
      );
    },
    PROPERTY_TIMEOUT_MS,
  );
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
  const own = [new Secret("the system key"), new Secret("the key of before")];
  expect(judgeSystemKey(undefined, own)).toBe("absent");
  expect(judgeSystemKey("the system key", own)).toBe("valid");
  expect(judgeSystemKey("the key of before", own)).toBe("valid");
  for (const wrong of ["", "the system ke", "the system keyy", "THE SYSTEM KEY"]) {
    expect(judgeSystemKey(wrong, own)).toBe("wrong");
  }
  expect(judgeSystemKey("", [])).toBe("wrong");
  expect(judgeSystemKey("", [new Secret("")])).toBe("wrong");
});
