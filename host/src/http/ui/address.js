// The addresses of the page's views, which are kept in the hash of the URL. Reads and writes them; shows nothing.

/** The address of an org, or of one of its workspaces. */
export const orgAddress = (org, key) => `#/orgs/${encodeURIComponent(org)}${key ? `/${key.split('/').map(encodeURIComponent).join('/')}` : ''}`;

/** The address of the import, with a template chosen. */
export const importAddress = (template) => `#/import?${new URLSearchParams({ template })}`;

/**
 * The view that a hash names: `#/`, `#/orgs/{org}`, `#/orgs/{org}/{workspace's key}` or `#/import?template={name}`.
 *
 * Two hashes with the same `id` are shown by the same view. `org`, `key` and `template` are undefined when the hash does
 * not name them.
 */
export function parseAddress(hash) {
  const [path, query] = hash.replace(/^#\/?/, '').split('?');
  const [first, org, ...key] = path.split('/').filter(Boolean).map(decoded);
  if (first === 'import') return { view: 'import', id: hash, template: new URLSearchParams(query).get('template') ?? undefined };
  if (first === 'orgs' && org) return { view: 'org', id: `orgs/${org}`, org, key: key.join('/') || undefined };
  return { view: 'orgs', id: 'orgs' };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
