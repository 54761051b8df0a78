import { formatCount } from "../lib/kernel/units.ts";
import type { RekeyReport } from "../lib/stack/membership-rekey.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function rekeyText({ dryRun, pool, epoch, members, next }: RekeyReport): string {
  return [
    `${dryRun ? "Would give" : "Gave"} ${pool} a new secret, of epoch ${epoch}, sealed to ${members.join(", ")}.`,
    ...(next.length === 0 ? [] : ["Next:", ...next.map((line) => `  ${line}`)]),
  ].join("\n");
}

/** `fula-master membership rekey`: a new secret for a pool. */
export const membershipRekeyCommand = defineCommand<{ readonly dryRun?: boolean; readonly yes?: boolean }>({
  name: "rekey",
  summary: "give a pool a new secret",
  description:
    "Raises the epoch of a pool and seals a new random secret to each member. No box works with it before its membership " +
    "sync, and the older epochs stay readable, so no master is locked out on the way. masters: system key, JWT secret, " +
    "session secret, encryption key and the control plane's authority; cluster: the secret of IPFS Cluster; swarm: the key " +
    "of Kubo's private network.",
  examples: [
    { command: "fula-master membership rekey masters --dry-run", explains: "which boxes have to sync" },
    { command: "fula-master membership rekey cluster", explains: "asks first" },
    { command: "fula-master membership rekey cluster --yes --json", explains: "dryRun, pool, epoch, members and next" },
  ],
  arguments: [{ name: "pool", description: "the pool's id, as pool list shows it", required: true }],
  changes: true,
  asks: true,
  requires: "admin",
  run: async (context, { dryRun = false, yes = false }, [id = ""]) => {
    const { rekeyOnePool } = await import("../lib/stack/membership-rekey.ts");
    const report = await rekeyOnePool(context, {
      pool: id,
      dryRun,
      confirm: async (pool, members) => {
        const who = formatCount(members.length, "member");
        await context.out.confirm(`Give ${pool.id} a new secret, which ${who} must take up with membership sync?`, yes);
      },
    });
    context.out.result(report, () => rekeyText(report));
  },
});
