import type { JoinRun, JoinStep } from "./join-step.ts";
import { unsupported } from "./docker-stack.ts";

function step(id: "images" | "compose" | "containers"): JoinStep {
  return {
    id,
    title: id,
    assess: async () => {
      throw unsupported();
    },
    apply: async () => {
      throw unsupported();
    },
  };
}

export const imagesStep = (_: JoinRun): JoinStep => step("images");
export const composeStep = (_: JoinRun): JoinStep => step("compose");
export const containersStep = (_: JoinRun): JoinStep => step("containers");
