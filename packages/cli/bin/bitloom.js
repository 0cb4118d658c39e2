#!/usr/bin/env node
import { INTERRUPTED, main } from '../dist/main.js';

const code = await main(process.argv.slice(2));
// What was interrupted still runs.
if (code === INTERRUPTED) process.exit(code);
process.exitCode = code;
