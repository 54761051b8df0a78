import type { ContainerRun, JoinStep } from "./join-step.ts";
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

export const imagesStep = (_: ContainerRun): JoinStep => step("images");
export const composeStep = (_: ContainerRun): JoinStep => step("compose");
export const containersStep = (_: ContainerRun): JoinStep => step("containers");
