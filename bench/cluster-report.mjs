export async function renderReport(r) {
  const out = [];
  for (const load of ['oneBusy','oneCalm','oneEach','manyBusy','manyCalm']) for (const route of ['direct','file','one','two','four']) {
    const s = r.of(route, load);
    out.push([load, route, ...Object.entries(s).map(([k,v]) => k+'='+(v<0.1? v.toFixed(6): v.toFixed(2)))].join(' '));
  }
  out.push(JSON.stringify(r.trips, null, 1), JSON.stringify(r.most), r.seconds);
  return out.join('\n') + '\n';
}
