import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../../../src/lib/identity/eip712/claims.ts";
import { addressOfKey, recoverSigner, signDigest } from "../../../../src/lib/identity/eip712/signature.ts";
import {
  encodeType,
  signingDigest,
  structHasher,
  type StructTypes,
} from "../../../../src/lib/identity/eip712/typed-data.ts";

function keccakHex(text: string): string {
  return bytesToHex(keccak_256(utf8ToBytes(text)));
}

/** The example of EIP-712 (https://eips.ethereum.org/EIPS/eip-712, Example.js), with every value that it checks. */
describe("the example of EIP-712", () => {
  const types: StructTypes = {
    EIP712Domain: [
      { name: "name", type: "string" },
      { name: "version", type: "string" },
      { name: "chainId", type: "uint256" },
      { name: "verifyingContract", type: "address" },
    ],
    Person: [
      { name: "name", type: "string" },
      { name: "wallet", type: "address" },
    ],
    Mail: [
      { name: "from", type: "Person" },
      { name: "to", type: "Person" },
      { name: "contents", type: "string" },
    ],
  };
  const domain = structHasher(
    types,
    "EIP712Domain",
  )({
    name: "Ether Mail",
    version: "1",
    chainId: 1n,
    verifyingContract: "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
  });
  const mail = structHasher(
    types,
    "Mail",
  )({
    from: { name: "Cow", wallet: "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826" },
    to: { name: "Bob", wallet: "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB" },
    contents: "Hello, Bob!",
  });
  const digest = signingDigest(domain, mail);

  test("a type is written with those that it refers to", () => {
    const text = "Mail(Person from,Person to,string contents)Person(string name,address wallet)";
    expect(encodeType(types, "Mail")).toBe(text);
    expect(keccakHex(text)).toBe("a0cedeb2dc280ba39b857546d74f5549c3a1d7bdc2dd96bf881f76108e23dac2");
  });

  test("domain, struct and digest are the example's", () => {
    expect(bytesToHex(domain)).toBe("f2cee375fa42b42143804025fc449deafd50cc031ca257e0b194a650a912090f");
    expect(bytesToHex(mail)).toBe("c52c0ee5d84264471806290a3f2c4cecfc5490626bf912d01f240d7a274b371e");
    expect(bytesToHex(digest)).toBe("be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2");
  });

  test("the cow's key signs it with the example's bytes, and the cow is found again", () => {
    const cow = keccak_256(utf8ToBytes("cow"));
    const signature = signDigest(digest, cow);
    expect(bytesToHex(signature)).toBe(
      "4355c47d63924e8a72e509b65029052eb6c299d53a04e167c5775fd466751c9d" +
        "07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b91562" +
        "01",
    );
    expect(addressOfKey(cow)).toBe("0xcd2a3d9f938e13cd947ec05abc7fe734df8dd826");
    expect(recoverSigner(digest, signature)).toEqual({ address: addressOfKey(cow) });
  });
});

/** Values that libraries of others computed for the fleet's scheme, with the key of 32 bytes 0x42. */
describe("the fleet's token of a wallet", () => {
  test("has the types that wallets of the fleet sign", () => {
    expect(keccakHex("EIP712Domain(string name,string version)")).toBe(
      "b03948446334eb9b2196d5eb166f69b9d49403eb4a12f36de8d3f9f3cb8e15c3",
    );
    expect(keccakHex("FulaAuth(address wallet,uint256 iat,uint256 exp)")).toBe(
      "441a038993d587ec81ee488c1902e7e2676548835aeb34ab8dd340853b992efe",
    );
    const types = {
      EIP712Domain: [
        { name: "name", type: "string" },
        { name: "version", type: "string" },
      ],
    };
    expect(bytesToHex(structHasher(types, "EIP712Domain")({ name: "Fula Gateway", version: "1" }))).toBe(
      "f85fcd5a8df432e04109de05101c687c316a6c373cb7707a4401dd6426affe94",
    );
  });

  test("has the digest that was computed elsewhere", () => {
    const wallet = addressOfKey(hexToBytes("42".repeat(32)));
    expect(wallet).toBe("0x17c5185167401ed00cf5f5b2fc97d9bbfdb7d025");
    const digest = digestOf({ version: 1, wallet, issued: 1_750_000_000, expires: 1_750_003_600 });
    expect(bytesToHex(digest)).toBe("0f350015b82195422e39f8615d2feceebb0ed6e049181ee44957f6de603d6694");
  });
});

describe("a value that its type cannot hold is a bug, not a hash", () => {
  const types: StructTypes = { It: [{ name: "value", type: "uint256" }], Text: [{ name: "value", type: "string" }] };
  test.each([
    ["a number below zero", "It", { value: -1n }],
    ["a number of 257 bits", "It", { value: 1n << 256n }],
    ["a text for a number", "It", { value: "1" }],
    ["a number for a text", "Text", { value: 1n }],
    ["nothing", "Text", {}],
    ["a struct for a text", "Text", { value: {} }],
  ])("%s", (_what, name, value) => {
    expect(() => structHasher(types, name)(value)).toThrow(/Assertion failed/);
  });
});
