import type { AccountView } from "../billing/account-view.ts";
import type { Claim, ClaimOutcome } from "../billing/claim.ts";
import type { HistoryPage, HistoryQuestion } from "../billing/credit-history.ts";
import type { Caller } from "../identity/bearer.ts";
import type { UserProfile } from "../identity/user-profile.ts";
import type { Wallet } from "../billing/wallets.ts";
import type { WalletChallenge, WalletClaim } from "../billing/wallet-challenges.ts";
import type { CreditOutcome } from "../billing/credits.ts";
import type { ScanReport, ScanWishes } from "../billing/scan.ts";
import type { SuspendedAccount } from "../billing/suspended.ts";
import type { WalletAddress } from "../billing/wallet-message.ts";
import type { CredentialServices } from "./credential-services.ts";
import type { DenialServices } from "./denial-services.ts";
import type { LeaseAnswer, LeaseRequest } from "./ingest-leases.ts";
import type { PinService } from "./pin-service.ts";

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
  readonly pins: PinService;
  readonly readAccount: (userId: string) => Promise<AccountView>;
  readonly readUser: (userId: string) => Promise<UserProfile>;
  readonly readHistory: (userId: string, question: HistoryQuestion) => Promise<HistoryPage>;
  readonly claimDeposit: (claim: Claim) => Promise<ClaimOutcome>;
  readonly pricing: () => Pricing;
  readonly listWallets: (caller: Caller) => Promise<readonly Wallet[]>;
  /** @throws ApiError where the chain is not one of `pricing().chains`, or a wallet asks */
  readonly issueChallenge: (caller: Caller, wallet: Omit<WalletClaim, "userId">) => Promise<WalletChallenge>;
  /** @throws ApiError as `issueChallenge` */
  readonly linkWallet: (
    caller: Caller,
    wallet: Omit<WalletClaim, "userId">,
    signed: { readonly message: string; readonly signature: string },
  ) => Promise<Wallet>;
  /** @throws ApiError where another wallet asks */
  readonly unlinkWallet: (caller: Caller, address: WalletAddress) => Promise<number>;
  readonly adjust: (adjustment: {
    readonly userId: string;
    readonly amountUnits: bigint;
    readonly reason: string;
    readonly operator: string;
    /** Null makes a new one. */
    readonly key: string | null;
    /** False refuses a user whom the ledger does not know. */
    readonly create: boolean;
  }) => Promise<Pick<CreditOutcome, "entryId" | "balanceUnits" | "applied"> & { readonly key: string }>;
  readonly unsuspend: (request: {
    readonly userId: string;
    readonly reason: string;
    readonly operator: string;
  }) => Promise<boolean>;
  readonly listSuspended: (
    limit: number,
  ) => Promise<{ readonly accounts: readonly SuspendedAccount[]; readonly total: number }>;
  /** @throws ApiError where the account has no room, or no storage node asks */
  readonly leaseBlocks: (request: LeaseRequest) => Promise<LeaseAnswer>;
  readonly credentials: CredentialServices;
  readonly denials: DenialServices;
  /** @throws ApiError where it takes longer than a request may */
  readonly scan: (wishes: ScanWishes) => Promise<ScanReport>;
}
