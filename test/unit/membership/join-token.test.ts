import { describe, expect, test } from "vitest";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { type JoinToken, parseJoinToken, renderJoinToken } from "../../../src/lib/membership/join-token.ts";

const TOKEN: JoinToken = {
  role: "master",
  id: "7d4b3f0e-4c5a-4f6e-9d2b-1a2b3c4d5e6f",
  expiresAtMs: 1_795_262_400_000,
  body: new Secret("c0ffee".padEnd(64, "0")),
};

function refusal(text: string): unknown {
  try {
    parseJoinToken(new Secret(text));
  } catch (error) {
    return error;
  }
  throw new Error("The token was taken");
}

describe("the text of a join token", () => {
  test("reads back as it was made, for a master and for a storage node", () => {
    const storage: JoinToken = { ...TOKEN, role: "storage", body: new Secret('{"some":"thing é"}') };
    for (const token of [TOKEN, storage]) {
      const read = parseJoinToken(renderJoinToken(token));
      expect({ ...read, body: read.body.reveal() }).toEqual({ ...token, body: token.body.reveal() });
    }
  });

  test("is short enough to be typed for a master", () => {
    expect(renderJoinToken(TOKEN).reveal()).toMatch(/^fula-join1\.[\w-]{79}$/);
  });

  test("bears the line breaks that a mail programme puts in", () => {
    const text = renderJoinToken(TOKEN).reveal();
    expect(parseJoinToken(new Secret(` ${text.slice(0, 30)}\r\n${text.slice(30)}\n`)).id).toBe(TOKEN.id);
  });

  test("with any one character changed, dropped or doubled is called mistyped, and never expired or used", () => {
    const text = renderJoinToken(TOKEN).reveal();
    const mistyped = text.split("").flatMap((character, index) => {
      const other = character === "A" ? "B" : "A";
      const [before, after] = [text.slice(0, index), text.slice(index + 1)];
      return [`${before}${other}${after}`, `${before}${after}`, `${before}${character}${character}${after}`];
    });
    for (const each of mistyped) {
      // The last character carries bits that base64url leaves unused; a change there may mean the same bytes.
      if (Buffer.from(each.slice(11), "base64url").equals(Buffer.from(text.slice(11), "base64url"))) continue;
      expect(refusal(each)).toMatchObject({ code: "FULA_TOKEN_INVALID" });
    }
  });

  test.each([
    ["", "it is empty"],
    ["hello", "does not begin with"],
    ["fula-join2.AAAA", "a version that this fula-master does not know"],
    ["fula-join1.A", "a part of it is missing"],
    ["fula-join1.ä", "characters that no token has"],
  ])("%j is refused: %s", (text, why) => {
    expect(refusal(text)).toMatchObject({ code: "FULA_TOKEN_INVALID", message: expect.stringContaining(why) });
  });

  test("is in no message of its refusal", () => {
    const text = renderJoinToken(TOKEN).reveal();
    expect(JSON.stringify(refusal(`${text}x`))).not.toContain(text.slice(20, 60));
    expect(String(refusal(`${text}x`))).not.toContain(text.slice(20, 60));
  });
});
