import type { Account } from './account.js';
import { BinaryResult, invalidArguments, Refusal } from './answer.js';
import { formatDecimal } from './decimal.js';
import { COST_DECIMALS, findAsset, LOT_DECIMALS } from './market-data.js';
import { MAY_EXPORT, type PrivateCall, type PrivateEndpoints } from './private-endpoint.js';
import { zipOf } from './zip.js';

/** Reports: ready as soon as asked for, and what the account had done by then. */
export const EXPORT_ENDPOINTS: PrivateEndpoints = {
  AddExport: { cost: 1, permissions: MAY_EXPORT, run: addExport },
  ExportStatus: { cost: 1, permissions: MAY_EXPORT, run: exportStatus },
  RetrieveExport: { cost: 1, permissions: MAY_EXPORT, run: retrieveExport },
  RemoveExport: { cost: 1, permissions: MAY_EXPORT, run: removeExport },
};

const KEPT_MS = 14 * 86_400_000;

function readReport(call: PrivateCall): 'trades' | 'ledgers' {
  const report = call.fields.needed('report');
  if (report !== 'trades' && report !== 'ledgers') throw invalidArguments('report');
  return report;
}

function addExport(call: PrivateCall): unknown {
  const { fields, account, exchange, now } = call;
  const report = readReport(call);
  const description = fields.needed('description');
  const format = fields.text('format') ?? 'CSV';
  if (format !== 'CSV' && format !== 'TSV') throw invalidArguments('format');
  const id = exchange.newId('E').replaceAll('-', '').slice(-6);
  const rows = report === 'trades' ? tradeRows(account) : ledgerRows(account);
  const text = rows.map((row) => row.join(format === 'CSV' ? ',' : '\t')).join('\n');
  const zip = zipOf(`${report}.${format.toLowerCase()}`, Buffer.from(`${text}\n`));
  account.exports.set(id, { id, report, description, format, createdAt: now, zip });
  return { id };
}

function exportStatus(call: PrivateCall): unknown {
  const wanted = readReport(call);
  return [...call.account.exports.values()]
    .filter(({ report }) => report === wanted)
    .map(({ id, report, description, format, createdAt }) => ({
      id,
      descr: description,
      format,
      report,
      subtype: 'all',
      status: 'Processed',
      flags: '0',
      fields: 'all',
      createdtm: seconds(createdAt),
      expiretm: seconds(createdAt + KEPT_MS),
      starttm: seconds(createdAt),
      completedtm: seconds(createdAt),
      datastarttm: '0',
      dataendtm: seconds(createdAt),
      aclass: 'forex',
      asset: 'all',
    }));
}

function retrieveExport(call: PrivateCall): BinaryResult {
  const report = call.account.exports.get(call.fields.needed('id'));
  if (report === undefined) throw unknownReport();
  return new BinaryResult(report.zip);
}

function removeExport(call: PrivateCall): unknown {
  const type = call.fields.needed('type');
  if (type !== 'cancel' && type !== 'delete') throw invalidArguments('type');
  if (!call.account.exports.delete(call.fields.needed('id'))) throw unknownReport();
  return { [type]: true };
}

/** Kraken's text is in none of the lists (KRAKEN.md 4). */
function unknownReport(): Refusal {
  return invalidArguments('id');
}

function seconds(ms: number): string {
  return Math.floor(ms / 1000).toString();
}

function tradeRows(account: Account): string[][] {
  const head = ['txid', 'ordertxid', 'pair', 'time', 'type', 'ordertype', 'price', 'cost', 'fee', 'vol'];
  return [
    head,
    ...account.trades.map(({ id, order, time, price, cost, fee, volume }) => [
      id,
      order.txid,
      order.pair.name,
      new Date(time).toISOString(),
      order.side,
      order.ordertype,
      formatDecimal(price, order.pair.pairDecimals),
      formatDecimal(cost, COST_DECIMALS),
      formatDecimal(fee, COST_DECIMALS),
      formatDecimal(volume, LOT_DECIMALS),
    ]),
  ];
}

function ledgerRows(account: Account): string[][] {
  return [
    ['txid', 'refid', 'time', 'type', 'asset', 'amount', 'fee', 'balance'],
    ...account.ledger.map(({ id, refid, time, type, asset, amount, fee, balance }) => {
      const { decimals } = findAsset(asset);
      const amounts = [amount, fee, balance].map((value) => formatDecimal(value, decimals));
      return [id, refid, new Date(time).toISOString(), type, asset, ...amounts];
    }),
  ];
}
