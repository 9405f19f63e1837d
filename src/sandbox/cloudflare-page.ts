// The titles Cloudflare gives its own error pages.
const TITLES: Readonly<Record<number, string>> = {
  429: 'Too Many Requests',
  500: 'Internal server error',
  502: 'Bad gateway',
  503: 'Service Temporarily Unavailable',
  504: 'Gateway time-out',
  520: 'Web server is returning an unknown error',
  521: 'Web server is down',
  522: 'Connection timed out',
  523: 'Origin is unreachable',
  524: 'A timeout occurred',
  525: 'SSL handshake failed',
  526: 'Invalid SSL certificate',
};

/** The HTML that comes instead of JSON when Cloudflare answers for Kraken (KRAKEN.md 3.3). */
export function cloudflarePage(status: number): Buffer {
  const title = TITLES[status] ?? 'Error';
  return Buffer.from(`<!DOCTYPE html>
<!--[if lt IE 7]> <html class="no-js ie6 oldie" lang="en-US"> <![endif]-->
<html class="no-js" lang="en-US">
<head>
<title>api.kraken.com | ${status}: ${title}</title>
<meta charset="UTF-8" />
<meta name="robots" content="noindex, nofollow" />
</head>
<body>
<div id="cf-wrapper">
<div id="cf-error-details" class="p-0">
<header><h1><span>${title}</span> <span>Error code ${status}</span></h1></header>
<p>Visit <a href="https://www.cloudflare.com/5xx-error-landing">cloudflare.com</a> for more information.</p>
<p>Cloudflare Ray ID: <strong>9f00sandbox00000</strong></p>
</div>
</div>
</body>
</html>
`);
}
