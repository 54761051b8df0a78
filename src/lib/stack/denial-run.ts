import { assertKnown, deny, lift, type DenialWords, targetOf } from "../identity/denials.ts";
import { type Denial, type DenialTarget, findDenial, listDenials } from "../identity/denial-table.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { type BillingContext, withMasterLedger } from "./billing-ledger.ts";
import { operatorOf, type OperatorWords } from "./credit-run.ts";
import { readTokenText } from "./token-source.ts";

/** What `auth deny` and `auth lift` take from their command. */
export interface DenialContext extends BillingContext {
  readonly readInput: () => Promise<string>;
}

/** What is named on the command line. */
export interface DenialOptions extends Omit<DenialWords, "token">, OperatorWords {
  readonly tokenFile: string | undefined;
  readonly dryRun: boolean;
}

/** A denial, as the commands print it; `--json` keeps these fields. Times are RFC 3339, UTC. */
export type DenialReport = Omit<Denial, "revision"> & { readonly state: "denied" | "lifted" | "expired" };

/** What `auth deny --json` and `auth lift --json` print. */
export interface DenialActReport extends DenialTarget {
  readonly dryRun: boolean;
  /** False in a dry run, and where it was so already. */
  readonly changed: boolean;
  /** As it stands afterwards; null in a dry run where there was none. */
  readonly denial: DenialReport | null;
}

function reportOf(denial: Denial, nowMs: number): DenialReport {
  const { kind, subject, issuedBefore, expiresAt, reason, deniedBy, deniedAt, liftedAt, liftedBy } = denial;
  const isOver = expiresAt !== null && Date.parse(expiresAt) <= nowMs;
  const state = liftedAt !== null ? "lifted" : isOver ? "expired" : "denied";
  return { kind, subject, state, issuedBefore, expiresAt, reason, deniedBy, deniedAt, liftedAt, liftedBy };
}

/** So far ahead of now may "before" lie: a wallet's clock may be ahead of ours, and nobody means next year. */
const AHEAD_MAX_MS = 86_400_000;

/** @throws FulaError FULA_USAGE */
function parseBefore(text: string | undefined, kind: DenialTarget["kind"], nowMs: number): number | null {
  if (text === undefined) return null;
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z$/.test(text) ? Date.parse(text) : Number.NaN;
  if (kind === "digest") {
    throw new FulaError("FULA_USAGE", "--before goes with --wallet and --user: one credential is denied whole.");
  }
  if (!Number.isNaN(ms) && ms <= nowMs + AHEAD_MAX_MS) return ms;
  throw new FulaError("FULA_USAGE", `--before ${text} is no time that can be meant.`, {
    hint: "give one in UTC, such as 2026-06-12T14:30:00Z, at most a day ahead.",
  });
}

/** The token alone is read from a file: on the command line every user of the box could see it. */
async function wordsOf(context: DenialContext, options: DenialOptions): Promise<DenialWords> {
  const { digest, keyId, wallet, user, tokenFile } = options;
  const words = { digest, keyId, wallet, user };
  if (tokenFile === undefined) return words;
  const text = await readTokenText({ tokenFile }, { ...context, env: {} });
  return { ...words, token: text?.reveal() };
}

async function actReport(
  pool: Pool,
  target: DenialTarget,
  { dryRun, nowMs }: { readonly dryRun: boolean; readonly nowMs: number },
  act: () => Promise<{ readonly denial: Denial; readonly changed: boolean }>,
): Promise<DenialActReport> {
  const { kind, subject } = target;
  if (dryRun) {
    const present = await findDenial(pool, target);
    return { dryRun, kind, subject, changed: false, denial: present === null ? null : reportOf(present, nowMs) };
  }
  const { denial, changed } = await act();
  return { dryRun, kind, subject, changed, denial: reportOf(denial, nowMs) };
}

/**
 * Denies a credential, or all that a wallet or a user was given before a time.
 * @throws FulaError FULA_USAGE, FULA_DENIAL_TARGET, FULA_USER_INVALID, FULA_KEY_NOT_FOUND, and what `withMasterLedger`
 *   throws
 */
export async function runDeny(
  context: DenialContext,
  options: DenialOptions & { readonly before: string | undefined },
): Promise<DenialActReport> {
  const target = targetOf(await wordsOf(context, options));
  const nowMs = context.clock.nowMs();
  const issuedBeforeMs = parseBefore(options.before, target.kind, nowMs);
  return await withMasterLedger(context, "auth", async (pool, loaded) => {
    const { operator: actor, reason } = operatorOf("auth deny", options, context, loaded);
    await assertKnown(pool, { keyId: options.keyId });
    return await actReport(pool, target, { dryRun: options.dryRun, nowMs }, async () => {
      return await deny(pool, target, { actor, reason, issuedBeforeMs });
    });
  });
}

/** Lifts a denial. @throws FulaError FULA_DENIAL_NOT_FOUND, and as `runDeny` */
export async function runLift(context: DenialContext, options: DenialOptions): Promise<DenialActReport> {
  const target = targetOf(await wordsOf(context, options));
  const nowMs = context.clock.nowMs();
  return await withMasterLedger(context, "auth", async (pool, loaded) => {
    const { operator: actor, reason } = operatorOf("auth lift", options, context, loaded);
    return await actReport(pool, target, { dryRun: options.dryRun, nowMs }, async () => {
      return await lift(pool, target, { actor, reason });
    });
  });
}

/** What `auth denials --json` prints. */
export interface DenialsReport {
  readonly denials: readonly DenialReport[];
}

/** Denials, the newest first. @param isAll true gives those that were lifted or have expired, too */
export async function runDenials(
  context: BillingContext,
  { isAll, limit }: { readonly isAll: boolean; readonly limit: number },
): Promise<DenialsReport> {
  return await withMasterLedger(context, "auth", async (pool) => {
    const denials = await listDenials(pool, isAll, limit);
    return { denials: denials.map((denial) => reportOf(denial, context.clock.nowMs())) };
  });
}
