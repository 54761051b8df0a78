import { FulaError, isFulaError } from "../kernel/errors.ts";
import { openAddresses, reachableAddressesOfBox } from "../runtime/own-addresses.ts";
import { readInstallation, writeInstallation } from "./installation.ts";
import type { JoinRun, JoinStep } from "./join-step.ts";
import { openBlocks, openPinCluster } from "./pinset.ts";
import { already, todo } from "./plan.ts";
import { checkTestPin } from "./verify-master.ts";
import { checkWriter, identifyWriter, type WriterIdentity } from "./writer-identity.ts";
import { addressOfSetting } from "../config/addresses.ts";

/** What was verified: other daemons, even at the same addresses, have not been. */
function markOf({ clusterPeerId, kuboPeerId }: WriterIdentity): string {
  return `${clusterPeerId} ${kuboPeerId}`;
}

/** Addresses of this box, loopback apart, at which Kubo's RPC API can be reached: whoever reaches it controls Kubo. */
async function openKuboAddresses(kuboApi: string): Promise<readonly string[]> {
  const port = addressOfSetting(kuboApi).port;
  return (await openAddresses(reachableAddressesOfBox(), port)).map((host) => `${host}:${port}`);
}

async function assertKuboPrivate({ box }: JoinRun): Promise<readonly string[]> {
  const { blocks } = box.wanted.config;
  const open = await openKuboAddresses(blocks.kuboApi);
  // That of a writer which runs already is the operator's own; status and doctor go on saying it.
  if (open.length === 0 || blocks.mode === "kubo") return open;
  throw new FulaError(
    "FULA_JOIN_UNVERIFIED",
    `Kubo's RPC API takes connections on ${open.join(", ")}, not on loopback alone.`,
    {
      hint: "whoever reaches it controls this node's blocks; see which program publishes the port: ss -ltnp",
      details: { open },
    },
  );
}

/** Step: what was set up does what a master must do. */
export function verifyStep(run: JoinRun): JoinStep {
  const { box } = run;
  const { clock, random, signal } = box.context;
  const { kuboApi } = box.wanted.config.blocks;
  const clusterApi = box.wanted.config.cluster.api;
  return {
    id: "verify",
    title: "Verification",
    assess: async () => {
      const changes = [
        "ask Kubo and IPFS Cluster who they are: they belong together, and the peer may change pins",
        "look that Kubo's RPC API is on loopback alone",
        "pin a small block on this box, and take it away again",
      ];
      const why = "a daemon that runs is not yet one that works";
      const verified = (await readInstallation(box.paths.stateDir))?.verified ?? null;
      if (verified === null) return todo(why, changes);
      try {
        const identity = await identifyWriter(kuboApi, clusterApi, signal);
        if (markOf(identity) === verified)
          return already(`peer ${identity.clusterPeerId} on Kubo ${identity.kuboPeerId}`);
      } catch (error) {
        // The steps before this one bring them up.
        const isDown = isFulaError(error, "FULA_KUBO_UNREACHABLE") || isFulaError(error, "FULA_CLUSTER_UNREADABLE");
        if (run.mayStart || !isDown) throw error;
      }
      return todo(why, changes);
    },
    apply: async (report) => {
      const loaded = await run.load();
      report("asking Kubo and IPFS Cluster");
      const identity = await checkWriter({ kuboApi, clusterApi }, { random, signal });
      const open = await assertKuboPrivate(run);
      report("pinning a test block");
      await using pins = await openPinCluster(loaded, { clock });
      const blocks = await openBlocks(loaded);
      await checkTestPin({ blocks, pins, peer: identity.clusterPeerId, clock, random, signal });
      const current = await readInstallation(box.paths.stateDir);
      if (current !== null) await writeInstallation(box.paths.stateDir, { ...current, verified: markOf(identity) });
      const remark = open.length === 0 ? "" : `; its Kubo API is open on ${open.join(", ")}`;
      return `peer ${identity.clusterPeerId} pins and unpins${remark}`;
    },
  };
}
