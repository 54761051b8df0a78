import { rm } from "node:fs/promises";
import type { LoadedConfig } from "../config/load.ts";
import type { SettingKey } from "../config/schema.ts";
import { updateSettingsFile } from "../config/settings-file.ts";
import { isFulaError } from "../kernel/errors.ts";
import { formatCount } from "../kernel/units.ts";
import { type FederationNode, listFederationNodes, registerNode } from "../membership/federation-nodes.ts";
import { finishJoinToken, redeemJoinToken } from "../membership/token-table.ts";
import type { Pool } from "../postgres/pool.ts";
import { readFederation } from "./federation-look.ts";
import { ensureRedeemer, readRedeemer, redeemerFile } from "./join-entry.ts";
import type { JoinRun, JoinStep } from "./join-step.ts";
import { peekLedger } from "./ledger-peek.ts";
import { already, type Assessment, todo } from "./plan.ts";
import { ownRegistration } from "./registration.ts";
import { isSameRegistration, trustChanges } from "./trust-of-masters.ts";

/** Step: the join token is used. What it brings is written down by the next steps; a kill in between loses nothing. */
export function tokenStep({ box, ledger }: JoinRun): JoinStep {
  const { entry, paths, wanted, context } = box;
  return {
    id: "token",
    title: "Join token",
    assess: async () => {
      if (entry === null)
        return already(`this box has joined cluster ${box.clusterId}, and has everything that it brings`);
      const { bundle, token } = entry;
      return todo(`${bundle.issuer} lets this box into the federation`, [
        `use the token ${token.id}: it is good for this box alone from then on`,
        `cluster ${bundle.clusterId}, ${formatCount(bundle.masters.length, "master")}: ${bundle.masters.map(({ name }) => name).join(", ")}`,
      ]);
    },
    apply: async () => {
      if (entry === null) return "not needed";
      const redeemer = await ensureRedeemer(paths.stateDir, wanted.config.node.name, context.random);
      const bundle = await redeemJoinToken(await ledger(), entry.token, redeemer);
      return `used; cluster ${bundle.clusterId} of ${bundle.issuer}`;
    },
  };
}

/** Lends the ledger as far as this run may: while it only looks, one that does not run is not started. */
async function withRunningLedger<T>(run: JoinRun, look: (pool: Pool) => Promise<T>): Promise<T | null> {
  if (run.mayStart) return await look(await run.ledger());
  try {
    return await peekLedger(run.box.wanted, look);
  } catch (error) {
    // The steps before this one bring it up.
    if (isFulaError(error, "FULA_DATABASE_UNREACHABLE")) return null;
    throw error;
  }
}

function settingChanges(
  loaded: LoadedConfig,
  nodes: readonly FederationNode[],
): ReadonlyMap<SettingKey, readonly string[]> {
  return trustChanges(loaded.config, nodes).settings;
}

async function assessTrust(run: JoinRun): Promise<Assessment> {
  const why = "masters find and trust one another by what each has written into the ledger";
  const loaded = run.mayStart ? await run.box.reloadSaved() : run.box.wanted;
  const nodes = await withRunningLedger(run, readFederation);
  if (nodes === null) return todo(why, ["write this master into federation_nodes"]);
  const own = await ownRegistration(loaded, run.box.context.signal).catch((error: unknown) => {
    // Kubo and cluster are brought up by the steps before this one, and secrets are made by them.
    const comes = ["FULA_KUBO_UNREACHABLE", "FULA_CLUSTER_UNREADABLE", "FULA_NOT_JOINED"] as const;
    if (!run.mayStart && comes.some((code) => isFulaError(error, code))) return null;
    throw error;
  });
  const row = nodes.find(({ name }) => name === loaded.config.node.name);
  const changes = [...settingChanges(loaded, nodes)].map(([key, values]) => `${key}: ${values.join(", ")}`);
  if (own === null || row === undefined || !isSameRegistration(own, row)) {
    changes.unshift("write this master into federation_nodes");
  }
  if (changes.length > 0) return todo(why, changes);
  const { byHand, masters } = trustChanges(loaded.config, nodes);
  return already(
    [
      masters.length === 0 ? "no other master has written itself down" : `other masters: ${masters.join(", ")}`,
      ...(byHand === null ? [] : [byHand]),
    ].join("; "),
  );
}

/** Step: this master in `federation_nodes`, and the others among its trusted peers. */
export function trustStep(run: JoinRun): JoinStep {
  const { box } = run;
  const { clock, signal } = box.context;
  return {
    id: "trust",
    title: "Trust between masters",
    assess: async () => await assessTrust(run),
    apply: async (report) => {
      const pool = await run.ledger();
      const loaded = await box.reloadSaved();
      report("writing this master down");
      await registerNode(pool, await ownRegistration(loaded, signal), { clock });
      const nodes = await listFederationNodes(pool);
      const changes = settingChanges(loaded, nodes);
      if (changes.size > 0) {
        await updateSettingsFile(box.paths.configFile, Object.fromEntries(changes), { clock, signal });
        run.settingsChanged = true;
        await run.applyStack(report);
      }
      await finishEntry(run, pool);
      const { masters } = trustChanges(loaded.config, nodes);
      return masters.length === 0 ? "the first master of its cluster" : `with ${masters.join(", ")}`;
    },
  };
}

/** Wipes what the token left in the ledger and on this box, once all of it is in the files. */
async function finishEntry({ box }: JoinRun, pool: Pool): Promise<void> {
  const { entry, paths, wanted } = box;
  const redeemer = await readRedeemer(paths.stateDir, wanted.config.node.name);
  if (redeemer === null) return;
  if (entry !== null) await finishJoinToken(pool, entry.token.id, redeemer);
  await rm(redeemerFile(paths.stateDir), { force: true });
}
