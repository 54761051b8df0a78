import { openRigStore, type RigAddress, rigPorts, runOnRig } from "../failover-rig.ts";

// Started by a test with the rig's address and places, at the first of which it is to be killed: goes on with the failover of
// the rig, as the command does, and prints how it ended.
const [address, ...places] = process.argv.slice(2);
if (address === undefined) throw new Error("usage: run-failover.ts <address> [<event>:<action>...]");

const rig: RigAddress = JSON.parse(address);
await using store = await openRigStore(rig);
const report = await runOnRig(
  rigPorts(store, rig, {
    unreachable: new Set(["alpha"]),
    journal: {
      append: async (event, { action } = {}) => {
        if (typeof action === "string" && places.includes(`${event}:${action}`)) process.kill(process.pid, "SIGKILL");
      },
    },
  }),
  { forced: true },
);
process.stdout.write(JSON.stringify({ outcome: report.outcome, primary: report.primary, epoch: report.epoch.number }));
