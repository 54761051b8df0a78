import { z } from "zod";
import { nearest } from "../kernel/nearest.ts";
import { Secret } from "../kernel/secret.ts";
import { isWebAddress } from "./addresses.ts";
import { privateValue, type Setting } from "./setting.ts";

/** What the settings say of one chain; what is left out comes from the preset of that name. */
export interface ChainGiven {
  readonly name: string;
  readonly chainId?: number | undefined;
  /** Endpoints of JSON-RPC, the preferred one first. Secret, because providers put keys into the path. */
  readonly rpcUrls?: readonly Secret[] | undefined;
  readonly token?: string | undefined;
  readonly vault?: string | undefined;
  readonly decimals?: number | undefined;
  readonly confirmations?: number | undefined;
  readonly finalityDepth?: number | undefined;
  readonly startBlock?: number | undefined;
  readonly enabled?: boolean | undefined;
}

/** One chain that deposits may come from, with everything that is needed to look for them. */
export interface Chain {
  readonly name: string;
  /** EIP-155. */
  readonly chainId: number;
  readonly rpcUrls: readonly Secret[];
  /** The token's contract, in lower case. */
  readonly token: string;
  /** The address that deposits are sent to, in lower case; null where no setting names one. */
  readonly vault: string | null;
  /** Digits after the point of the token's amounts. */
  readonly decimals: number;
  /** Blocks on top of a deposit's before it is credited. */
  readonly confirmations: number;
  /** Blocks below the head that a reorganisation may reach; one that goes deeper stops the chain. */
  readonly finalityDepth: number;
  /** The first block that is looked at. */
  readonly startBlock: number;
  /** Why nobody looks for deposits here; null where somebody does. */
  readonly offBecause: string | null;
}

type Preset = Omit<Chain, "name" | "rpcUrls" | "vault" | "offBecause">;

const FULA_ON_ETHEREUM = "0x92217ccaedbdbc54c76c15fea18823db1558fdc9";
const FULA_ELSEWHERE = "0x9e12735d77c72c5c3670636d428f2f3815d8a4cb";

/**
 * The chains of the fleet, with the blocks from which it looks. Confirmations are what makes a block final on each
 * (docs/deposits.md): two epochs on Ethereum; the time in which Base's blocks reach Ethereum and are final there; SKALE
 * is final at once, and a few blocks more keep endpoints that lag behind from mattering.
 */
const PRESETS: Readonly<Record<string, Preset>> = {
  ethereum: {
    chainId: 1,
    token: FULA_ON_ETHEREUM,
    decimals: 18,
    confirmations: 64,
    finalityDepth: 256,
    startBlock: 24_179_670,
  },
  base: {
    chainId: 8453,
    token: FULA_ELSEWHERE,
    decimals: 18,
    confirmations: 450,
    finalityDepth: 1_800,
    startBlock: 40_480_508,
  },
  skale: {
    chainId: 2_046_399_126,
    token: FULA_ELSEWHERE,
    decimals: 18,
    confirmations: 10,
    finalityDepth: 64,
    startBlock: 22_856_425,
  },
};

const address = z.string().regex(/^0x[0-9a-fA-F]{40}$/, "must be 0x and 40 hex digits");
const rpcUrl = z
  .string()
  .refine(isWebAddress, "must be an address such as https://rpc.example")
  .transform((url) => new Secret(url));
// The ledger's columns are integers of 32 bits.
const CHAIN_ID_MAX = 2_147_483_647;

const CHAIN_FIELDS = z.strictObject({
  chainId: z.int().min(1).max(CHAIN_ID_MAX).optional(),
  rpcUrls: z.array(rpcUrl).max(8).readonly().optional(),
  token: address.optional(),
  vault: address.optional(),
  decimals: z.int().min(0).max(18).optional(),
  confirmations: z.int().min(1).max(100_000).optional(),
  finalityDepth: z.int().min(1).max(100_000).optional(),
  startBlock: z.int().min(0).optional(),
  enabled: z.boolean().optional(),
});

type ChainFields = z.infer<typeof CHAIN_FIELDS>;

/** Two endpoints must say the same; one that is named twice would agree with itself. */
function hasTwice(urls: readonly Secret[]): boolean {
  return new Set(urls.map((url) => new URL(url.reveal()).href)).size < urls.length;
}

/** What a chain that is no preset must say. */
const REQUIRED = ["chainId", "token", "confirmations", "finalityDepth", "startBlock"] as const;

function problemWith(name: string, fields: ChainFields): string | null {
  const merged = { ...PRESETS[name], ...fields };
  const missing = REQUIRED.filter((field) => merged[field] === undefined);
  if (missing.length > 0) {
    const meant = nearest(name, Object.keys(PRESETS));
    return `${name} lacks ${missing.join(", ")}${meant === null ? "" : `; did you mean the preset ${meant}?`}`;
  }
  if (hasTwice(fields.rpcUrls ?? [])) return `${name}.rpcUrls names an endpoint twice`;
  if ((merged.finalityDepth ?? 0) < (merged.confirmations ?? 0))
    return `${name}.finalityDepth is less than its confirmations`;
  return null;
}

function isMapping(raw: unknown): raw is Readonly<Record<string, unknown>> {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw);
}

/** What is wrong with the chains of a settings file, without any value of theirs: URLs hold keys. */
function explainChains(raw: unknown): string | null {
  if (!isMapping(raw)) return null;
  const chainIds = new Map<number, string>();
  for (const [name, fields] of Object.entries(raw)) {
    if (!/^[a-z][a-z0-9-]{0,31}$/.test(name))
      return "a chain's name is a small letter and then letters, digits, hyphens";
    const parsed = CHAIN_FIELDS.safeParse(fields);
    if (!parsed.success) return explainFields(name, fields, parsed.error);
    const problem = problemWith(name, parsed.data);
    if (problem !== null) return problem;
    const chainId = parsed.data.chainId ?? PRESETS[name]?.chainId ?? 0;
    const other = chainIds.get(chainId);
    if (other !== undefined) return `${other} and ${name} both have the chain id ${chainId}`;
    chainIds.set(chainId, name);
  }
  return null;
}

function explainFields(name: string, fields: unknown, error: z.ZodError): string {
  if (!isMapping(fields)) return `${name} is no mapping`;
  const known = Object.keys(CHAIN_FIELDS.shape);
  const unknown = Object.keys(fields).find((field) => !known.includes(field));
  if (unknown !== undefined) {
    const meant = nearest(unknown, known);
    return `${name}.${unknown} is no setting${meant === null ? "" : `; did you mean ${name}.${meant}?`}`;
  }
  const [issue] = error.issues;
  return `${[name, ...(issue?.path ?? [])].join(".")}: ${issue?.message ?? "cannot be used"}`;
}

const CHAINS_SCHEMA = z
  .record(z.string(), z.unknown())
  .refine((raw) => explainChains(raw) === null)
  .transform((raw): readonly ChainGiven[] =>
    Object.entries(raw).map(([name, fields]) => ({ name, ...CHAIN_FIELDS.parse(fields) })),
  );

/** Where an endpoint is, for people: what may hold a key is left out. `https://rpc.example/…` */
export function endpointLabel(url: Secret): string {
  const { protocol, host, pathname, search } = new URL(url.reveal());
  return `${protocol}//${host}${pathname === "/" && search === "" ? "" : "/…"}`;
}

function fieldsOf(chains: readonly ChainGiven[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    chains.map(({ name, rpcUrls, ...fields }) => [
      name,
      { ...fields, ...(rpcUrls === undefined ? {} : { rpcUrls: rpcUrls.map((url) => url.reveal()) }) },
    ]),
  );
}

/** Chains by name. */
export const CHAINS_SETTING: Setting<readonly ChainGiven[]> = privateValue({
  description:
    "Chains that deposits may come from, by name. ethereum, base and skale are known and need rpcUrls alone; docs/deposits.md lists what else each can say.",
  expected: "a mapping such as base: { rpcUrls: [https://rpc.example] }",
  schema: CHAINS_SCHEMA,
  fromText: (text) => {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return text;
    }
  },
  toFile: fieldsOf,
  toText: (chains) => JSON.stringify(fieldsOf(chains)),
  render: (chains) =>
    chains.length === 0
      ? "(presets)"
      : chains
          .map(({ name, rpcUrls = [] }) => `${name} (${rpcUrls.map(endpointLabel).join(", ") || "no rpcUrls"})`)
          .join("; "),
  explain: explainChains,
  default: { value: [], text: "(presets)", example: "{}" },
});

/** The fleet's name for Base's endpoint, which is used where `chains` gives none. */
export const BASE_RPC_URL_SETTING: Setting<readonly Secret[]> = privateValue({
  description: "JSON-RPC endpoints of Base, where chains.base.rpcUrls names none; the existing fleet's name for them.",
  expected: "a list of addresses such as https://rpc.example, none of them twice",
  schema: z
    .array(rpcUrl)
    .max(8)
    .readonly()
    // A step of its own, which addresses that are none do not reach.
    .pipe(z.custom<readonly Secret[]>().refine((urls) => !hasTwice(urls))),
  fromText: (text) =>
    text
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== ""),
  toFile: (urls) => urls.map((url) => url.reveal()),
  toText: (urls) => urls.map((url) => url.reveal()).join(","),
  render: (urls) => (urls.length === 0 ? "(none)" : urls.map(endpointLabel).join(", ")),
  explain: () => null,
  default: { value: [], text: "(none)", example: "[]" },
  env: ["BASE_RPC_URL"],
});

/** The settings that chains are made of. */
export interface ChainsConfig {
  readonly chains: readonly ChainGiven[];
  readonly billing: { readonly vaultAddress: string | null; readonly baseRpcUrls: readonly Secret[] };
}

function offBecause(chain: Omit<Chain, "offBecause">, isEnabled: boolean): string | null {
  if (!isEnabled) return `chains.${chain.name}.enabled is false`;
  if (chain.vault === null) return "no vault: billing.vaultAddress is not set";
  if (/^0x0{40}$/.test(chain.vault)) return "its vault is the zero address";
  return chain.rpcUrls.length === 0 ? `no endpoint: chains.${chain.name}.rpcUrls is not set` : null;
}

/** Every chain that the settings know, the presets first; those that are off say why. */
export function chainsOf({ chains, billing }: ChainsConfig): readonly Chain[] {
  const names = [...new Set([...Object.keys(PRESETS), ...chains.map(({ name }) => name)])];
  return names.map((name) => {
    const { enabled = true, ...given } = chains.find((chain) => chain.name === name) ?? { name };
    const fields = { ...PRESETS[name], ...given };
    const vault = fields.vault ?? billing.vaultAddress;
    const chain = {
      name,
      // What is required was checked when the settings were read.
      chainId: fields.chainId ?? 0,
      token: (fields.token ?? "").toLowerCase(),
      decimals: fields.decimals ?? 18,
      confirmations: fields.confirmations ?? 1,
      finalityDepth: fields.finalityDepth ?? 1,
      startBlock: fields.startBlock ?? 0,
      vault: vault === null ? null : vault.toLowerCase(),
      rpcUrls: fields.rpcUrls ?? (name === "base" ? billing.baseRpcUrls : []),
    };
    return { ...chain, offBecause: offBecause(chain, enabled) };
  });
}
