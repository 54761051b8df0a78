import { defineWaitingDrill, type Drill } from "./drill.ts";
import { killedContainerDrill } from "./drill-containers.ts";
import { ledgerDrill } from "./drill-ledger.ts";
import { servicesDrill } from "./drill-services.ts";
import { massRestoreDrill, snapshotDrill } from "./drill-snapshot.ts";
import { sweepDrill } from "./drill-sweep.ts";

const BILLING = "billing";

/** Every drill, in the order in which they are run. D1 to D7 are counted as the fleet's runbooks count them. */
export const DRILLS: readonly Drill[] = [
  servicesDrill,
  ledgerDrill,
  defineWaitingDrill("D3", "Of two masters one bills, and bills once", BILLING, [
    "Exactly one of two masters takes the lease",
    "The other one says that it stands by",
    "One user is charged exactly once for one hour",
  ]),
  defineWaitingDrill("D4", "When the billing master is killed, the other one goes on", BILLING, [
    "The other master takes the lease",
    "The user is still charged exactly once for that hour",
  ]),
  defineWaitingDrill("D5", "Charges and deposits that arrive at the same time count once", BILLING, [
    "Two charges and two deposits, each sent twice at the same time, change the balance once each",
  ]),
  snapshotDrill,
  sweepDrill,
  massRestoreDrill,
  killedContainerDrill,
];
