/** Every kind of quantizer in a running project: published, read back, watched, renewed or refused with what to do. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { compareVersions, describeVersion } from '../../pipeline/index.ts'
import { bundleFromParts, encodeSticky, rqVaeDefaults, type Bundle } from '../../semantic-ids/index.ts'
import { configDefaults } from '../../schemas/index.ts'
import { clicks, contentOf, hourMs, itemIds, items, onDisk, startTs, TestProject, wantedItems } from './fixture.ts'

const known = itemIds(wantedItems)
const all = itemIds(wantedItems + 12)
const watch = { minItems: 5, errorRatio: 1.5, headShare: 0.9, capacity: 3, occupancyRise: 0.2 }

async function bundleOfVersion(it: TestProject, version: number): Promise<Bundle> {
  const { manifest, parts } = await it.project.artifacts.read((await it.record(version))!.codebook)
  return bundleFromParts({ parts, about: manifest.about })
}

/** What readers get is what the float64 reference makes of the vectors they get, by the version's bundle. */
async function requireReproducible(it: TestProject, version: number, ids: readonly string[]): Promise<void> {
  const bundle = await bundleOfVersion(it, version)
  const { codebooks, settings, network, parents, delta } = bundle
  const features = (await it.read(ids, { version })).map((feature) => feature!)
  const vectors = Float32Array.from(features.flatMap(({ vector }) => [...vector]))
  const codes = encodeSticky(vectors, codebooks, settings, { old: parents.lookup(ids), delta }, network)
  deepStrictEqual(
    features.map(({ sid }) => [...sid]),
    features.map((_, row) => [...codes.subarray(row * codebooks.sizes.length, (row + 1) * codebooks.sizes.length)]),
  )
}

test('with a finite-scalar level the default bounds the prefix before it; whole IDs under a bound are frozen, and that is said', async (t) => {
  const warnings: string[] = []
  const it = await TestProject.open(t, {
    changes: { ...onDisk, semanticIds: { fsqDigits: [3, 2], churnBudget: null }, training: { learningRate: 0.3 } },
    wrap: (project) => ({
      ...project,
      logger: { ...project.logger, info: () => {}, error: () => {}, warn: (_: object, text: string) => void warnings.push(text) } as never,
    }),
  })
  const policyOf = async (version: number) =>
    ((await it.record(version))!.metrics as { policy: { budget: object; churnBudget: number; frozenByFsq?: boolean } }).policy
  const refreshAfter = async (round: number, version: number, bounds: object): Promise<object> => {
    await it.stop()
    await it.start({ adjust: (config) => ({ ...config, semanticIds: { ...config.semanticIds, ...bounds } }) })
    await it.feed(clicks(48, startTs + round * hourMs, known))
    await it.advance(startTs + (round + 1) * hourMs)
    strictEqual((await it.daemon.refresh(`refresh ${version}`)).version, version)
    const { budget, churnBudget, frozenByFsq } = await policyOf(version)
    return {
      budget,
      churnBudget,
      frozenByFsq,
      told: warnings.splice(0).filter((text) => text.includes('all semantic IDs are frozen')).length,
    }
  }
  await it.bootstrap()
  const none = { churnBudget: 1, frozenByFsq: undefined, told: 0 }
  deepStrictEqual(await refreshAfter(1, 2, {}), { ...none, budget: { full: 1, prefix: [null, 0.1] } })
  const bounds = { churnBudgetPrefixes: [0.5, null] }
  deepStrictEqual(await refreshAfter(2, 3, bounds), { ...none, budget: { full: 1, prefix: [0.5, null] } })
  const whole = { churnBudget: 0.02, frozenByFsq: true, told: 1, budget: { full: 0.02 } }
  deepStrictEqual(await refreshAfter(3, 4, { churnBudget: 0.02, churnBudgetPrefixes: null }), whole)
})

const rqVae = { hidden: [8], latentDim: 4, epochs: 20, batch: 16 }
const kinds: Record<string, { options: object; sizes?: number[]; renewed: boolean }> = {
  plain: { options: {}, renewed: true },
  beam: { options: { beam: 3 }, renewed: true },
  'unit residuals': { options: { normalizeResiduals: true }, renewed: false },
  balanced: { options: { balance: 0.05 }, renewed: true },
  'finite-scalar level': { options: { fsqDigits: [3, 2], churnBudget: 1 }, sizes: [8, 8, 6], renewed: true },
  network: { options: { method: 'rq-vae', rqVae }, renewed: false },
}

for (const [kind, { options, sizes = [8, 8], renewed }] of Object.entries(kinds)) {
  test(`published, read back, watched, compared and ${renewed ? 'refreshed' : 'not refreshed, and said so'}: ${kind}`, async (t) => {
    const it = await TestProject.open(t, { changes: { semanticIds: options, refresh: { watch } } })
    await it.bootstrap()
    const first = await bundleOfVersion(it, 1)
    deepStrictEqual(first.codebooks.sizes, sizes)
    strictEqual(first.network !== undefined, kind === 'network')
    strictEqual(first.codebooks.penalties !== undefined, kind === 'balanced')
    deepStrictEqual([first.settings.beam, first.settings.normalizeResiduals], [kind === 'beam' ? 3 : 1, kind === 'unit residuals'])
    await it.feed(items(12, startTs + hourMs, wantedItems), clicks(48, startTs + hourMs, known))
    await it.advance(startTs + 2 * hourMs)
    await requireReproducible(it, 1, all)
    const drift = (await it.daemon.status()).drift!
    deepStrictEqual([drift.figures.items, drift.figures.newItems], [all.length, 12])
    ok(drift.figures.newError! > 0 && drift.figures.fittedError! >= 0, 'errors are measured')

    const done = await it.daemon.refresh('now')
    const { state } = it.daemon.owner!.lanes
    if (renewed) {
      deepStrictEqual([done.outcome, done.version], ['live', 2], done.message)
      await requireReproducible(it, 2, all)
      const change = await compareVersions(it.project, state, 1, 2)
      deepStrictEqual([change.items, change.churn.perLevel.length], [all.length, sizes.length])
    } else {
      deepStrictEqual([done.outcome, done.code, await it.live()], ['refused', 'SIDESTREAM_BUILD_REFUSED', 1])
      ok(/re-base: give semanticIds\.idSpace another name than codebooks\/v1/.test(done.message), done.message)
    }
    const figures = await describeVersion(it.project, state, 1)
    ok(figures.fvu > 0 && figures.fvu < 1 && figures.items === all.length, `FVU ${figures.fvu}`)
    await it.feed(contentOf('later', startTs + 3 * hourMs))
    ok(await it.readOne('later'), 'the daemon goes on')
  })
}

test('another quantizer in the configuration waits for a re-base, and the log says so at the start and at each refresh', async (t) => {
  const warnings: string[] = []
  const it = await TestProject.open(t, {
    changes: onDisk,
    wrap: (project) => ({
      ...project,
      logger: { ...project.logger, info: () => {}, error: () => {}, warn: (_: object, text: string) => void warnings.push(text) } as never,
    }),
  })
  await it.bootstrap()
  const pending = (): string[] => warnings.splice(0).filter((text) => text.includes('another quantizer'))
  deepStrictEqual(pending(), [])
  const restart = async (changes: object): Promise<void> => {
    await it.stop()
    await it.start({ adjust: (config) => ({ ...config, semanticIds: { ...config.semanticIds, ...changes } }) })
    await it.daemon.idle()
  }
  const wanted = { levels: [6, 4], beam: 2, balance: 0.1, fsqDigits: [2, 2] }
  await restart(wanted)
  const [told, ...more] = pending()
  ok(/levels \[8,8\], not \[6,4\]; beam 1, not 2; balance false, not true; fsqDigits null, not \[2,2\]/.test(told!), told)
  ok(/give semanticIds\.idSpace another name than codebooks\/v1/.test(told!))
  deepStrictEqual(more, [])
  strictEqual((await it.daemon.refresh('old')).outcome, 'live')
  deepStrictEqual([pending().length, (await bundleOfVersion(it, 2)).codebooks.sizes], [1, [8, 8]])

  await restart({ ...wanted, idSpace: 'second' })
  deepStrictEqual(pending(), [], 'it is declared')
  strictEqual((await it.daemon.refresh('rebase')).version, 3)
  const { codebooks, settings } = await bundleOfVersion(it, 3)
  deepStrictEqual([codebooks.sizes, settings.beam, codebooks.penalties?.length], [[6, 4, 4], 2, 2])
  await requireReproducible(it, 3, known)

  await restart({ method: 'rq-vae', rqVae: { ...rqVaeOptions(it), ...rqVae }, idSpace: 'third', relabel: 'all' })
  strictEqual((await it.daemon.refresh('network')).version, 4)
  const { policy } = (await it.record(4))!.metrics as { policy: Record<string, unknown> }
  deepStrictEqual([policy['kind'], policy['idSpaceBefore']], ['re-base', 'second'])
  strictEqual((await bundleOfVersion(it, 4)).network!.layers.length, 2)
  await requireReproducible(it, 4, known)
  strictEqual((await it.daemon.refresh('again')).outcome, 'refused')
  await restart({ idSpace: 'fourth' })
  deepStrictEqual([(await it.daemon.refresh('back')).version, (await bundleOfVersion(it, 6)).network], [6, undefined])
})

const rqVaeOptions = (it: TestProject) => it.project.config.semanticIds.rqVae

test('a stop ends the training of an RQ-VAE; the next start trains it anew and publishes', { timeout: 240_000 }, async (t) => {
  const it = await TestProject.open(t, { changes: onDisk })
  await it.bootstrap()
  const trainedFor = async (epochs: number): Promise<void> => {
    await it.stop()
    const changes = { idSpace: 'second', method: 'rq-vae', rqVae: { ...rqVaeOptions(it), ...rqVae, epochs } } as const
    await it.start({ adjust: (config) => ({ ...config, semanticIds: { ...config.semanticIds, ...changes } }) })
  }
  await trainedFor(100_000)
  const asked = it.daemon.refresh('now')
  const closed = rejects(asked, { code: 'SIDESTREAM_CLOSED' })
  while (it.control.find('build', 'now') === undefined) await new Promise((resolve) => setTimeout(resolve, 5))
  await it.stop()
  await closed
  await trainedFor(3)
  await it.daemon.idle()
  deepStrictEqual([it.control.find('done', 'now')!.body.version, await it.live()], [2, 2])
  ok((await bundleOfVersion(it, 2)).network !== undefined)
})

test('without options an RQ-VAE is that of the library', () => {
  deepStrictEqual({ ...rqVaeDefaults, ...configDefaults.semanticIds.rqVae }, rqVaeDefaults)
})

test('an RQ-VAE that diverges refuses the build; the owner and the live version go on', async (t) => {
  const it = await TestProject.open(t, { changes: onDisk })
  await it.bootstrap()
  await it.stop()
  const diverging = { idSpace: 'second', method: 'rq-vae', rqVae: { ...rqVaeOptions(it), ...rqVae, learningRate: 1e30 } } as const
  await it.start({ adjust: (config) => ({ ...config, semanticIds: { ...config.semanticIds, ...diverging } }) })
  const done = await it.daemon.refresh('now')
  deepStrictEqual([done.outcome, done.code, await it.live()], ['refused', 'SIDESTREAM_TRAINING_DIVERGED', 1])
  await it.feed(contentOf('later', startTs + 3 * hourMs))
  ok(await it.readOne('later'))
})
