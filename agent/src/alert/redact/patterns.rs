//! What secrets look like: one regular expression each, with the secret in the group of that name.
//!
//! A command line is its arguments joined by spaces, so an argument with spaces in it is only known by its quotes.

/// The built-in patterns.
#[rustfmt::skip] // one row a pattern, to be read as a table
pub(super) const PATTERNS: &[&str] = &[
    // --password X, --db-password X, -passphrase X, --api-key X; not `--password-file X`, not `--password --next`
    r#"(?i)(?:^|\s)--?(?:[a-z0-9]+[-_.])*(?:password|passwd|passphrase|secret|token|api[-_]?key|access[-_]?key|secret[-_]?key)\s+(?<secret>"[^"]+"|'[^']+'|[^\s"'-][^\s]*)"#,
    // password=X, DB_PASSWORD=X, ?access_token=X&, --token=X; not `password_file=X`
    r#"(?i)(?:password|passwd|passphrase|pwd|secret|token|api[-_]?key|access[-_]?key|secret[-_]?key|credentials?)=(?<secret>"[^"]+"|'[^']+'|[^\s"'&;,]+)"#,
    // "password": "X" in JSON
    r#"(?i)"[a-z0-9_.-]*(?:password|passwd|passphrase|secret|token|api[-_]?key|access[-_]?key)"\s*:\s*"(?<secret>[^"]+)""#,
    // scheme://user:X@host
    r"(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@]*:(?<secret>[^\s/@]+)@",
    // Authorization: Bearer X
    r#"(?i)\b(?:proxy-)?authorization\s*[:=]\s*(?:(?:bearer|basic|token|digest|negotiate)\s+)?(?<secret>[^\s"']+)"#,
    r"(?i)\bbearer\s+(?<secret>[a-z0-9._~+/=-]{8,})",
    // X-Api-Key: X, Private-Token: X, X-Vault-Token: X
    r#"(?i)\b(?:x-)?(?:[a-z]+-)?(?:api-key|auth-token|private-token|vault-token|access-token)\s*:\s*(?<secret>[^\s"']+)"#,
    // Cookie: X
    r#"(?i)\b(?:set-)?cookie:\s*(?<secret>[^"'\s][^"']*)"#,
    // mysql -pX (the password is glued to the option)
    r"(?:^|[\s/])(?:mysql[a-z]*|mariadb(?:-[a-z]+)?)\s(?:.*\s)?-p(?<secret>[^\s]+)",
    // sshpass -p X, sshpass -pX
    r"(?:^|[\s/])sshpass\s(?:.*\s)?-p\s*(?<secret>[^\s]+)",
    // docker login -p X, and its kin
    r"(?:^|[\s/])(?:docker|podman|nerdctl|helm|oras|crane|skopeo)\s(?:.*\s)?login\s(?:.*\s)?-p\s+(?<secret>[^\s]+)",
    // curl -u user:X
    r"(?:^|[\s/])curl\s(?:.*\s)?(?:-[a-zA-Z]*u\s*|--user[\s=]|--proxy-user[\s=])[^\s:]+:(?<secret>[^\s]+)",
    // redis-cli -a X
    r"(?:^|[\s/])redis-cli\s(?:.*\s)?-a\s+(?<secret>[^\s]+)",
    // openssl -passin pass:X
    r"\s-pass(?:in|out)?\s+pass:(?<secret>[^\s]+)",
    // Telegram's, Slack's and Discord's paths, which are keys
    r"/bot\d{6,}:(?<secret>[0-9A-Za-z_-]{20,})",
    r"/services/T[0-9A-Z]+/B[0-9A-Z]+/(?<secret>[0-9A-Za-z]{16,})",
    r"/webhooks/\d{10,}/(?<secret>[0-9A-Za-z_-]{20,})",
    // AWS access key ids and the keys of others that are known by their beginning
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\b(?:gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,}|glpat-[0-9A-Za-z_-]{16,}|xox[abprs]-[0-9A-Za-z-]{10,}|sk_live_[0-9A-Za-z]{16,}|npm_[0-9A-Za-z]{30,}|AIza[0-9A-Za-z_-]{30,}|hvs\.[0-9A-Za-z_-]{20,}|dckr_pat_[0-9A-Za-z_-]{20,})",
    // JSON web tokens
    r"\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*",
    // private keys, also such as are cut off
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?<secret>[^-]+)(?:-----END [A-Z ]*PRIVATE KEY-----)?",
];
