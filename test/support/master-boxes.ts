import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { registerNode } from "../../src/lib/membership/federation-nodes.ts";
import { type JoinBundle, secretsDigest } from "../../src/lib/membership/join-bundle.ts";
import type { MembershipStore } from "../../src/lib/membership/store.ts";
import { ensureSigningKey } from "../../src/lib/pinset/signing.ts";
import { withControlPlane } from "../../src/lib/stack/control-plane.ts";
import { controlPlaneOf } from "../../src/lib/stack/control-plane-bundle.ts";
import { givenSecrets } from "../../src/lib/stack/given-secrets.ts";
import { controlPlaneStep } from "../../src/lib/stack/join-steps-membership.ts";
import type { Assessment } from "../../src/lib/stack/plan.ts";
import { sharedSecrets } from "../../src/lib/stack/registration.ts";
import { makeBundle, makeRegistration } from "./federation.ts";
import type { NatsServers } from "./nats-servers.ts";
import { makeServingBox, type ServingBox } from "./serving.ts";

/** A master as far as its control plane and its ledger go. */
export interface MasterBox extends ServingBox {
  readonly name: string;
  /** What commands on it are given. */
  readonly context: ReturnType<typeof contextOf>;
  /** What the step of `join` would do. */
  assess(bundle?: JoinBundle | null): Promise<Assessment>;
  /** Takes the step of `join`. */
  join(bundle?: JoinBundle | null): Promise<string>;
  /** What a token made here brings. */
  bundle(): Promise<JoinBundle>;
  inStore<T>(use: (store: MembershipStore) => Promise<T>): Promise<T>;
  /** Changes lines of its `.env`; null takes one out. */
  changeEnv(changes: Readonly<Record<string, string | null>>): void;
}

function contextOf(baseDir: string) {
  return {
    globals: { baseDir },
    env: {},
    cwd: "/",
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    signal: new AbortController().signal,
    readInput: async (): Promise<string> => await Promise.resolve(""),
  };
}

function writeSettings(baseDir: string, name: string, controlPlane: object): void {
  const path = join(baseDir, "fula-master.yaml");
  const settings = JSON.parse(readFileSync(path, "utf8"));
  const node = { ...settings.node, name };
  writeFileSync(path, JSON.stringify({ ...settings, node, controlPlane }));
}

function changeEnvFile(baseDir: string, changes: Readonly<Record<string, string | null>>): void {
  const path = join(baseDir, ".env");
  const lines = readFileSync(path, "utf8").split("\n");
  const kept = lines.filter((line) => line !== "" && !Object.hasOwn(changes, line.split("=")[0] ?? ""));
  const added = Object.entries(changes).flatMap(([key, value]) => (value === null ? [] : [`${key}=${value}`]));
  writeFileSync(path, `${[...kept, ...added].join("\n")}\n`);
}

/**
 * Makes a master that has joined but for its control plane. @param servers null keeps it in a file
 * @param beside an earlier one of the same federation
 */
export async function makeMasterBox(
  name: string,
  servers: NatsServers | null,
  beside: MasterBox | null = null,
): Promise<MasterBox> {
  const box = await makeServingBox({}, beside);
  const { baseDir, database } = box;
  const nkeyFile = join(baseDir, "user.nk");
  if (servers !== null) writeFileSync(nkeyFile, servers.user.seed, { mode: 0o600 });
  writeSettings(
    baseDir,
    name,
    // Nothing here is about time: a busy machine may need longer than operators get to open all buckets.
    servers === null ? { mode: "sqlite" } : { mode: "nats", servers: servers.urls, nkeyFile, timeout: "20s" },
  );
  const { keyId } = await ensureSigningKey((await box.load()).paths.keysDir);
  const context = contextOf(baseDir);
  const step = async (bundle: JoinBundle | null): Promise<ReturnType<typeof controlPlaneStep>> => {
    const wanted = await box.load();
    const entry = bundle === null ? null : { bundle };
    const parts = { context, paths: wanted.paths, wanted, reload: async () => await box.load(), entry };
    return controlPlaneStep({ box: parts, mayStart: true });
  };
  const register = async (): Promise<void> => {
    const loaded = await box.load();
    const clusterId = loaded.config.node.clusterId ?? "";
    const own = { name, signingKey: keyId, clusterId, clusterPeerId: null, clusterAddresses: [], kuboPeerId: null };
    const registration = makeRegistration({
      ...own,
      kuboAddresses: [],
      secretsDigest: secretsDigest(sharedSecrets(loaded)),
    });
    await registerNode(database.pool, registration, { clock: systemClock });
  };
  return {
    ...box,
    name,
    context,
    assess: async (bundle = null) => await (await step(bundle)).assess(),
    join: async (bundle = null) => {
      const done = await (await step(bundle)).apply(() => {});
      await register();
      return done;
    },
    bundle: async () => {
      const loaded = await box.load();
      const clusterId = loaded.config.node.clusterId ?? "";
      const controlPlane = await controlPlaneOf(loaded, []);
      return makeBundle({ clusterId, issuer: name, controlPlane, ...(await givenSecrets(loaded, context)) });
    },
    inStore: async (use) => await withControlPlane(await box.load(), context, use),
    changeEnv: (changes) => {
      changeEnvFile(baseDir, changes);
    },
  };
}
