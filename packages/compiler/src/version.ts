import { createRequire } from 'node:module';

/** Version of the published package. */
export const VERSION: string = (createRequire(import.meta.url)('../package.json') as { version: string }).version;
