import { expect, test } from "vitest";
import { LABELS, madeBy } from "../../../src/lib/runtime/compose-labels.ts";
import { isOwnContainer, isOwnResource, type OwnParts } from "../../../src/lib/runtime/compose-remove.ts";

const own: OwnParts = { file: "/base/compose.yaml", services: ["kubo"], volumes: ["p_kubo-data"] };
const made = { [LABELS.version]: madeBy() };

test.each([
  ["that this box made", { ...made, [LABELS.configFiles]: own.file, [LABELS.service]: "retired" }, true],
  ["of a service that it names, taken over from an older installer", { [LABELS.service]: "kubo" }, true],
  ["of an older installer's service that it does not name", { [LABELS.service]: "webui" }, false],
  ["with no service", {}, false],
  [
    "that another base directory made",
    { ...made, [LABELS.configFiles]: "/other/compose.yaml", [LABELS.service]: "kubo" },
    false,
  ],
])("a container %s is told whose it is", (_, labels, isOwn) => {
  expect(isOwnContainer(labels, own)).toBe(isOwn);
});

test("a volume is the box's own where its Compose file names it or a fula-master made it, and not by its project alone", () => {
  expect(isOwnResource({ Name: "p_kubo-data", Labels: null }, own)).toBe(true);
  expect(isOwnResource({ Name: "p_retired", Labels: made }, own)).toBe(true);
  expect(isOwnResource({ Name: "p_webui-data", Labels: { [LABELS.version]: "2.27.0" } }, own)).toBe(false);
  expect(isOwnResource({ Name: "p_webui-data", Labels: null }, own)).toBe(false);
});
