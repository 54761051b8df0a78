const ZERO_ADDRESS = /^0x0{40}$/;

/** Whether a master bills and looks for deposits, and which setting says so. */
export interface BillingSwitch {
  readonly isOn: boolean;
  readonly because: string;
}

/** Reads the switch from the settings. */
export function billingSwitch(settings: {
  readonly enabled: "auto" | "on" | "off";
  readonly vaultAddress: string | null;
}): BillingSwitch {
  const { enabled, vaultAddress } = settings;
  if (enabled !== "auto") return { isOn: enabled === "on", because: `billing.enabled is ${enabled}` };
  if (vaultAddress === null) return { isOn: false, because: "billing.vaultAddress is not set" };
  if (ZERO_ADDRESS.test(vaultAddress)) return { isOn: false, because: "billing.vaultAddress is the zero address" };
  return { isOn: true, because: "billing.vaultAddress is set" };
}
