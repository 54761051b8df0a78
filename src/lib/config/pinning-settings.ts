import { duration, integer } from "./setting.ts";

/** The pinning service: what users ask for, and who sees to it. */
export const PINNING_SETTINGS = {
  workers: integer(
    {
      description:
        "Workers of this master that make the pinset agree with what users asked for; 0 leaves it to others.",
      default: 4,
    },
    0,
    64,
  ),
  giveUpAfter: duration(
    {
      description: "Content that no peer has found for so long is given up: its users are told that it failed.",
      default: "7d",
    },
    "1m",
  ),
} as const;
