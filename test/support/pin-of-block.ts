import { makePin, type Pin } from "../../src/lib/cluster/pins.ts";
import { rawCid } from "./pins.ts";

/** The pin of the block `rawBytes("box <number>")`: number in, the same pin out, in every process. */
export function blockPin(number: number): Pin {
  return makePin(rawCid(`box ${number}`).toString(), "2026-01-01T00:00:00Z", {
    name: `object-${number}`,
    metadata: { number: String(number) },
    replication_factor_min: number % 2 === 0 ? -1 : 1,
    replication_factor_max: number % 2 === 0 ? -1 : 1,
  });
}
