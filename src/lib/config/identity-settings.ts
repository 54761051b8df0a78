import { duration, flag, integers, oneOf } from "./setting.ts";

/** Who is let in. */
export const IDENTITY_SETTINGS = {
  eip712: oneOf(
    {
      description:
        "Bearer tokens that a wallet signs: `v2` takes those that name whom they are meant for, `all` also those of the existing fleet, which are good on every master that sees one; `off` takes none.",
      default: "off",
      env: [{ name: "FULA_EIP712_AUTH", rule: "exactly-true", means: ["all", "off"] }],
    },
    ["off", "v2", "all"] as const,
  ),
  eip712ChainIds: integers(
    {
      description:
        "Chains that a wallet token of the second version may name (EIP-155), beside those of `chains`: the one that the wallet was on when it signed.",
      default: { resolve: () => [1, 8_453, 2_046_399_126], text: "1, 8453, 2046399126", example: "[1, 8453]" },
    },
    1,
    Number.MAX_SAFE_INTEGER,
  ),
  jwtWithoutExpiry: flag({
    description: "JSON Web Tokens that name no end are taken, as the API keys of the existing fleet's web UI.",
    default: true,
  }),
  denyListRefresh: duration(
    { description: "Pause between two looks into the ledger for credentials that were revoked.", default: "2s" },
    "100ms",
  ),
  denyListMaxAge: duration(
    {
      description:
        "When the ledger has not said for so long what was revoked, nobody is let in; longer than the pause between two looks.",
      default: "30s",
    },
    "1s",
  ),
} as const;
