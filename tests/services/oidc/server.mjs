// oidc-provider (npm, a certified OpenID provider) with the device authorisation flow, for tests.   node server.mjs TTL
// On a free port of 127.0.0.1, which it tells as URL=ISSUER; device codes live TTL seconds and are asked for each second.
// Clients: gateway with a secret (basic), gateway-public without. Any user name logs in (see device_user.py).
import crypto from 'node:crypto';
import http from 'node:http';
import Provider from 'oidc-provider';

const ttl = +process.argv[2];
const { privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwk = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'test-1' };
const grants = ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'];
const gateway = { client_id: 'gateway', client_secret: 'gateway-test-secret' };
const server = http.createServer();

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      { ...gateway, grant_types: grants, response_types: [], redirect_uris: [] },
      { client_id: 'gateway-public', token_endpoint_auth_method: 'none', grant_types: grants, response_types: [], redirect_uris: [], application_type: 'native' }],
    jwks: { keys: [jwk] }, cookies: { keys: ['test'] },
    features: { deviceFlow: { enabled: true, charset: 'base-20', mask: '****-****' }, devInteractions: { enabled: true }, userinfo: { enabled: true } },
    conformIdTokenClaims: false,
    claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], profile: ['preferred_username', 'name'], email: ['email'] },
    ttl: { DeviceCode: ttl, AccessToken: 300, IdToken: 300, Interaction: 300, Session: 300, Grant: 300, RefreshToken: 300 },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id, name: id, email: `${id}@example.test`, amr: ['mfa'], acr: 'mfa' }) }),
  });
  // Without an interval in the answer, whoever follows RFC 8628 waits 5 s each time.
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.body?.device_code) ctx.body.interval = 1;
  });
  server.on('request', provider.callback());
  console.log(`CLIENT_ID=${gateway.client_id}\nCLIENT_SECRET=${gateway.client_secret}\nPUBLIC_CLIENT_ID=gateway-public\nURL=${issuer}`);
});
