import type { Drill } from "./drill.ts";
import { leaderKilledDrill, oneMasterBillsDrill, sameTimeDrill } from "./drill-billing.ts";
import { bucketRootsDrill } from "./drill-buckets.ts";
import { killedContainerDrill } from "./drill-containers.ts";
import { ledgerDrill } from "./drill-ledger.ts";
import { servicesDrill } from "./drill-services.ts";
import { massRestoreDrill, snapshotDrill } from "./drill-snapshot.ts";
import { sweepDrill } from "./drill-sweep.ts";

/** Every drill, in the order in which they are run. D1 to D7 are counted as the fleet's runbooks count them. */
export const DRILLS: readonly Drill[] = [
  servicesDrill,
  ledgerDrill,
  oneMasterBillsDrill,
  leaderKilledDrill,
  sameTimeDrill,
  snapshotDrill,
  sweepDrill,
  massRestoreDrill,
  killedContainerDrill,
  bucketRootsDrill,
];
