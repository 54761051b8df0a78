import type { AccountView } from "../billing/account-view.ts";
import type { HistoryPage, HistoryQuestion } from "../billing/credit-history.ts";
import type { UserProfile } from "../identity/user-profile.ts";
import type { Wallet } from "../billing/wallets.ts";
import type { WalletChallenge, WalletClaim } from "../billing/wallet-challenges.ts";
import type { CreditOutcome } from "../billing/credits.ts";
import type { SuspendedAccount } from "../billing/suspended.ts";
import type { WalletAddress } from "../billing/wallet-message.ts";

/** One transfer of a claimed transaction. */
export interface ClaimedDeposit {
  readonly logIndex: number;
  readonly amountUnits: bigint;
  /** `credited`, or what it waits for. */
  readonly state: string;
}

/** What came of a claim. */
export interface ClaimOutcome {
  readonly chainId: number;
  readonly txHash: string;
  /** What this very claim credited. */
  readonly creditedUnits: bigint;
  readonly deposits: readonly ClaimedDeposit[];
}

/** What became of a scan that was asked for. */
export interface ChainScan {
  readonly chainId: number;
  /** Null where the chain was never scanned. */
  readonly scannedThrough: bigint | null;
  readonly creditedCount: number;
  readonly problem: string | null;
}

/** What accounts cost. */
export interface Pricing {
  readonly freeTierBytes: bigint;
  readonly monthlyUnitsPerGib: bigint;
  /** Chains on which deposits are taken. */
  readonly chains: readonly PricedChain[];
}

/** A chain on which deposits are taken. */
export interface PricedChain {
  readonly chainId: number;
  readonly name: string;
  readonly tokenAddress: string;
  readonly vaultAddress: string;
}

/** Everything that the API does; handed to it, so that it knows neither tables nor chains. */
export interface ApiServices {
  readonly readAccount: (userId: string) => Promise<AccountView>;
  readonly readUser: (userId: string) => Promise<UserProfile>;
  readonly readHistory: (userId: string, question: HistoryQuestion) => Promise<HistoryPage>;
  readonly claimDeposit: (claim: {
    readonly userId: string;
    readonly txHash: string;
    readonly chainId: number | null;
  }) => Promise<ClaimOutcome>;
  readonly pricing: () => Pricing;
  readonly listWallets: (userId: string) => Promise<readonly Wallet[]>;
  /** @throws ApiError where the chain is not one of `pricing().chains` */
  readonly issueChallenge: (claim: WalletClaim) => Promise<WalletChallenge>;
  readonly linkWallet: (
    claim: WalletClaim,
    signed: { readonly message: string; readonly signature: string },
  ) => Promise<Wallet>;
  readonly unlinkWallet: (userId: string, address: WalletAddress) => Promise<number>;
  readonly adjust: (adjustment: {
    readonly userId: string;
    readonly amountUnits: bigint;
    readonly reason: string;
    readonly operator: string;
    /** Null makes a new one. */
    readonly key: string | null;
  }) => Promise<Pick<CreditOutcome, "entryId" | "balanceUnits" | "applied"> & { readonly key: string }>;
  readonly unsuspend: (request: {
    readonly userId: string;
    readonly reason: string;
    readonly operator: string;
  }) => Promise<boolean>;
  readonly listSuspended: (
    limit: number,
  ) => Promise<{ readonly accounts: readonly SuspendedAccount[]; readonly total: number }>;
  readonly scan: (chainId: number | null) => Promise<readonly ChainScan[]>;
}
