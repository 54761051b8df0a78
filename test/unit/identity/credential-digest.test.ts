import { SignJWT } from "jose";
import { describe, expect, test } from "vitest";
import { generateAccessKey, identityOfKey } from "../../../src/lib/identity/access-key.ts";
import { deniableOf } from "../../../src/lib/identity/credential-digest.ts";
import { targetOf } from "../../../src/lib/identity/denials.ts";
import { digestOf } from "../../../src/lib/identity/eip712/claims.ts";
import { addressOfKey } from "../../../src/lib/identity/eip712/signature.ts";
import { signToken } from "../../../src/lib/identity/eip712/token.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { accessKey } from "../../support/signing.ts";

const SECRET_KEY = Buffer.alloc(32, 7);
const WALLET = addressOfKey(SECRET_KEY);
const CLAIMS = { version: 1, wallet: WALLET, issued: 1_800_000_000, expires: 1_800_003_600 } as const;

describe("what a credential is denied by", () => {
  test("is of a wallet's token what was signed, however it is spelled, until the token ends", () => {
    const token = signToken(CLAIMS, SECRET_KEY);
    const digest = Buffer.from(digestOf(CLAIMS)).toString("hex");
    expect(deniableOf(token)).toEqual({ digest, expiresMs: 1_800_003_600_000 });
    const [prefix = "", , signature = ""] = token.split(".");
    const { wallet, issued: iat, expires: exp } = CLAIMS;
    const other = Buffer.from(JSON.stringify({ exp, wallet: wallet.toUpperCase().replace("0X", ""), iat }));
    expect(deniableOf(`${prefix}.${other.toString("base64url")}.${signature}`).digest).toBe(digest);
  });

  test("is of an access key its id, the same as of a Signature V4", () => {
    const pair = generateAccessKey(seededRandom(1));
    const { digest } = identityOfKey(accessKey(pair, "a".repeat(64))).credential;
    expect(deniableOf(`${pair.keyId}.${pair.secret.reveal()}`)).toEqual({ digest, expiresMs: null });
    expect(targetOf({ keyId: pair.keyId }).subject).toBe(digest);
  });

  test("is of a JSON Web Token all but its signature, until it ends, if it does", async () => {
    const sign = async (claims: object): Promise<string> =>
      await new SignJWT({ ...claims }).setProtectedHeader({ alg: "HS256" }).sign(SECRET_KEY);
    const token = await sign({ sub: "a@example.org", exp: 1_800_000_000 });
    const { digest, expiresMs } = deniableOf(token);
    expect(expiresMs).toBe(1_800_000_000_000);
    expect(deniableOf(`${token.slice(0, token.lastIndexOf("."))}.AAAA`).digest).toBe(digest);
    expect(deniableOf(await sign({ sub: "a@example.org" })).expiresMs).toBeNull();
    expect(deniableOf("a.b.c").expiresMs).toBeNull();
  });

  test("is not guessed from a wallet's token that is damaged", () => {
    expect(() => deniableOf("fula-eip712.e30.AA")).toThrow(expect.objectContaining({ code: "FULA_DENIAL_TARGET" }));
  });
});

test("a digest is taken as the log and as wallets show it", () => {
  const expected = { kind: "digest", subject: "ab".repeat(32), expiresMs: null };
  for (const digest of ["ab".repeat(32), "AB".repeat(32), `0x${"ab".repeat(32)}`]) {
    expect(targetOf({ digest })).toEqual(expected);
  }
});
