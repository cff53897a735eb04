/** The package's version, for manifests and --version; a test compares it with package.json. */
export const VERSION = '0.1.0';
