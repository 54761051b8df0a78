import { Counter, Gauge, type Registry } from "prom-client";
import type { DenyListState } from "../identity/deny-list.ts";

/** The metrics of who is let in. */
export interface IdentityMetrics {
  /** Counts an identity that was refused because it was revoked. */
  denied(): void;
  /** Gives where the list of what was revoked stands, asked at each scrape. */
  watch(state: () => DenyListState): void;
}

/** Makes the metrics of identities in a registry. */
export function createIdentityMetrics(registers: Registry[]): IdentityMetrics {
  let stateOf: (() => DenyListState) | null = null;
  const denied = new Counter({
    name: "fula_identity_denied_total",
    help: "Credentials that were good and refused because they were revoked.",
    registers,
  });
  const entries = new Gauge({
    name: "fula_identity_deny_list_entries",
    help: "Credentials, wallets and users on the list of what was revoked, as this master knows it.",
    registers,
    collect: () => {
      const state = stateOf?.();
      if (state === undefined) entries.remove();
      else entries.set(state.entries);
    },
  });
  const age = new Gauge({
    name: "fula_identity_deny_list_age_seconds",
    help: "Time since the ledger said what was revoked; past identity.denyListMaxAge nobody is let in.",
    registers,
    collect: () => {
      const ageMs = stateOf?.().ageMs ?? null;
      if (ageMs === null) age.remove();
      else age.set(ageMs / 1_000);
    },
  });
  return {
    denied: () => {
      denied.inc();
    },
    watch: (state) => {
      stateOf = state;
    },
  };
}
