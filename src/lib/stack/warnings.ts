import type { LoadedConfig } from "../config/load.ts";

/** Something that works as configured and still should not stay so. */
export interface Warning {
  /** Stable, for machines: `billing-off`. */
  readonly id: string;
  readonly message: string;
  readonly remedy: string;
}

const ZERO_ADDRESS = /^0x0{40}$/;

/** True where deposits cannot be credited: no vault, or the zero address that the old installers wrote. */
function isBillingOff(vaultAddress: string | null): boolean {
  return vaultAddress === null || ZERO_ADDRESS.test(vaultAddress);
}

/** What an operator should know about settings that are valid. */
export function settingWarnings({ config, paths, secrets }: LoadedConfig): readonly Warning[] {
  const warnings: Warning[] = [];
  if (isBillingOff(config.billing.vaultAddress)) {
    warnings.push({
      id: "billing-off",
      message: "Billing of deposits is OFF: no vault address is set, so no deposit is ever credited.",
      remedy: "fula-master join --vault-address 0x…, with the address that your users pay to.",
    });
  }
  if (config.postgres.mode === "external") {
    warnings.push({
      id: "shared-secrets",
      message: "This ledger may be shared with other masters, and all of them must have the same secrets.",
      remedy: `copy SYSTEM_KEY, JWT_SECRET, SESSION_SECRET and ENCRYPTION_KEY of the first master into ${paths.envFile}.`,
    });
  }
  if (secrets.encryptionKey === null) {
    warnings.push({
      id: "encryption-key-missing",
      message: "ENCRYPTION_KEY is not set: wallet addresses cannot be stored.",
      remedy: "fula-master join generates it.",
    });
  }
  return warnings;
}
