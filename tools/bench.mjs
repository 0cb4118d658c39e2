#!/usr/bin/env node
/** `npm run bench`: builds, then measures; see --help. */
import { join } from 'node:path';
import { must, root, run, setUp, tsc } from './setup.mjs';

setUp();
must(...tsc('packages/bench'));
process.exitCode = run(process.execPath, [join(root, 'packages/bench/dist/main.js'), ...process.argv.slice(2)]);
