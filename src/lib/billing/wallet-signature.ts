import type { Hex } from "viem";
import { recoverMessageAddress } from "viem/utils";
import { FulaError } from "../kernel/errors.ts";
import type { WalletAddress } from "./wallet-message.ts";

/** 65 bytes in hex: r, s, v. */
const FORM = /^0x[0-9a-fA-F]{130}$/;
const V_VALUES: ReadonlySet<number> = new Set([0, 1, 27, 28]);
/** Half of the order of secp256k1: above it, s has a twin below it that signs the same (EIP-2). */
const S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;

function refuse(why: string): FulaError {
  return new FulaError("FULA_WALLET_SIGNATURE", `The wallet's signature cannot be taken: ${why}.`, {
    hint: "sign the text as it was given, with personal_sign and with the wallet that is to be linked.",
  });
}

function isHex65(text: string): text is Hex {
  return FORM.test(text);
}

/**
 * Checks that a wallet signed a text as a personal message (EIP-191). Wallets that are contracts sign in another way,
 * which only their chain can check; they are refused.
 * @throws FulaError FULA_WALLET_SIGNATURE
 */
export async function assertSignedBy(message: string, signature: string, address: WalletAddress): Promise<void> {
  if (!isHex65(signature)) throw refuse("it is not 65 bytes in hex, as wallets with a key of their own give it");
  const s = BigInt(`0x${signature.slice(66, 130)}`);
  if (!V_VALUES.has(Number(`0x${signature.slice(130)}`))) throw refuse("its recovery byte is not 0, 1, 27 or 28");
  if (s > S_MAX) throw refuse("it has the high one of two possible forms");
  let signer: string;
  try {
    signer = await recoverMessageAddress({ message, signature });
  } catch {
    throw refuse("it is no signature of any wallet");
  }
  if (signer !== address) throw refuse(`another wallet than ${address} signed, or another text`);
}
