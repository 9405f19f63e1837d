import type { Payment } from './account.js';
import { invalidArguments, Refusal } from './answer.js';
import { formatDecimal, parseDecimal } from './decimal.js';
import { findAsset, scaled, type Asset } from './market-data.js';
import {
  MAY_EARN,
  MAY_QUERY_FUNDS,
  MAY_WITHDRAW,
  NO_PERMISSION_NEEDED,
  type PrivateCall,
  type PrivateEndpoints,
} from './private-endpoint.js';

/** Money out, and the endpoints whose names have a slash. */
export const FUNDING_ENDPOINTS: PrivateEndpoints = {
  DepositMethods: { cost: 1, permissions: MAY_QUERY_FUNDS, run: depositMethods },
  WithdrawInfo: { cost: 1, permissions: MAY_WITHDRAW, run: withdrawInfo },
  Withdraw: { cost: 1, permissions: MAY_WITHDRAW, run: withdraw },
  WithdrawStatus: { cost: 1, permissions: [...MAY_WITHDRAW, ...MAY_QUERY_FUNDS], run: withdrawStatus },
  // Only Funds Query, though it moves money (KRAKEN.md 2.2).
  WalletTransfer: { cost: 1, permissions: MAY_QUERY_FUNDS, run: walletTransfer },
  'Earn/Strategies': { cost: 1, permissions: NO_PERMISSION_NEEDED, run: () => ({ items: [] }) },
  'Earn/Allocations': { cost: 1, permissions: MAY_QUERY_FUNDS, run: earnAllocations },
  'Earn/Allocate': { cost: 1, permissions: MAY_EARN, run: earnAllocate },
  'Earn/Deallocate': { cost: 1, permissions: MAY_EARN, run: earnAllocate },
};

const WITHDRAWAL_FEES: Readonly<Record<string, string>> = {
  XXBT: '0.0001',
  XETH: '0.002',
  SOL: '0.01',
  ZUSD: '4',
  ZEUR: '1',
};

function feeOf(asset: Asset): bigint {
  return scaled(WITHDRAWAL_FEES[asset.name] ?? '0');
}

function depositMethods(call: PrivateCall): unknown {
  const asset = findAsset(call.fields.needed('asset'));
  const minimum = formatDecimal(feeOf(asset), asset.decimals);
  return [{ method: asset.altname, limit: false, fee: '0', 'gen-address': true, minimum }];
}

function readPayment(call: PrivateCall): { asset: Asset; amount: bigint } {
  const asset = findAsset(call.fields.needed('asset'));
  const amount = parseDecimal(call.fields.needed('amount'));
  if (amount === undefined || amount <= 0n) throw new Refusal('EFunding:Invalid amount');
  return { asset, amount };
}

function withdrawInfo(call: PrivateCall): unknown {
  const key = call.fields.needed('key');
  const { asset, amount } = readPayment(call);
  const fee = feeOf(asset);
  return {
    method: key,
    limit: formatDecimal(call.account.available(asset.name), asset.decimals),
    amount: formatDecimal(amount - fee, asset.decimals),
    fee: formatDecimal(fee, asset.decimals),
  };
}

/** Any key name is taken for one the account has set up; the fee comes on top of the amount. */
function withdraw(call: PrivateCall): unknown {
  const { fields, account, exchange, now } = call;
  const to = fields.needed('key');
  const { asset, amount } = readPayment(call);
  const fee = feeOf(asset);
  const maxFee = fields.text('max_fee');
  const allowed = maxFee === undefined ? fee : parseDecimal(maxFee);
  if (allowed === undefined) throw invalidArguments('max_fee');
  if (fee > allowed) throw new Refusal('EFunding:Max fee exceeded');
  // Kraken's text for too little money is not in any list (KRAKEN.md 4.1).
  if (amount + fee > account.available(asset.name)) throw new Refusal('EFunding:Invalid amount');
  const payment = paymentOf(call, asset, amount, fee, to, 'Initial');
  exchange.pay(account, 'withdrawal', { ...payment, time: now }, amount, fee);
  return { refid: payment.refid };
}

function walletTransfer(call: PrivateCall): unknown {
  const { fields, account, exchange } = call;
  if (fields.needed('from') !== 'Spot Wallet') throw invalidArguments('from');
  if (fields.needed('to') !== 'Futures Wallet') throw invalidArguments('to');
  const { asset, amount } = readPayment(call);
  if (amount > account.available(asset.name)) throw new Refusal('EFunding:Invalid amount');
  const payment = paymentOf(call, asset, amount, 0n, 'Futures Wallet', 'Success');
  exchange.pay(account, 'transfer', payment, amount, 0n);
  return { refid: payment.refid };
}

function paymentOf(
  call: PrivateCall,
  asset: Asset,
  amount: bigint,
  fee: bigint,
  to: string,
  status: Payment['status'],
): Payment {
  return {
    refid: call.exchange.newId('F'),
    time: call.now,
    asset: asset.name,
    amount: formatDecimal(amount, asset.decimals),
    fee: formatDecimal(fee, asset.decimals),
    to,
    status,
  };
}

function withdrawStatus(call: PrivateCall): unknown {
  const text = call.fields.text('asset');
  const name = text === undefined ? undefined : findAsset(text).name;
  return call.account.withdrawals
    .filter((payment) => name === undefined || payment.asset === name)
    .map((payment) => ({
      method: payment.to,
      aclass: 'currency',
      asset: payment.asset,
      refid: payment.refid,
      txid: null,
      info: payment.to,
      amount: payment.amount,
      fee: payment.fee,
      time: Math.floor(payment.time / 1000),
      status: payment.status,
      key: payment.to,
    }))
    .reverse();
}

function earnAllocations(): unknown {
  return { converted_asset: 'USD', total_allocated: '0', total_rewarded: '0', items: [] };
}

/** Takes the arguments and does nothing: there are no strategies here. */
function earnAllocate(call: PrivateCall): unknown {
  call.fields.needed('strategy_id');
  const amount = parseDecimal(call.fields.needed('amount'));
  if (amount === undefined || amount <= 0n) throw invalidArguments('amount');
  return true;
}
