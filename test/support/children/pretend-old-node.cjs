/* Preloaded with --require: makes the first Node.js of a chain look as old as PRETEND_NODE says; its children are as they are. */
if (process.env.PRETEND_ALWAYS === "1" || process.env.FULA_MASTER_LAUNCHER_PID === undefined) {
  Object.defineProperty(process.versions, "node", { value: process.env.PRETEND_NODE });
}
