/** One after the other of the models of a run, or a model alone, in one engine, ready to answer. Nothing is written. */
import { companionDirectory, demandBase, loadModel } from '../../checkpoint/index.ts';
import type { Message } from '../../data/index.ts';
import { type Engine, openEngine } from '../../engine/index.ts';
import { loadTokenizer } from '../../tokens/index.ts';
import type { RecipeContext } from '../run/context.ts';
import { engineSentence, frozen, openRequested } from '../run/engines.ts';
import { localInputs } from '../run/inputs.ts';
import { type Lineup, lineupOf, type Partner, partnerNamed } from '../run/lineup.ts';
import { modelInWords } from '../run/player.ts';
import type { TalkSettings } from '../settings/talkSettings.ts';
import { type Answer, type Chat, type ChatRequest, openChat } from './chat.ts';

/** One call at a time. */
export interface Talk {
  readonly lineup: Lineup;
  /** Who answers. */
  readonly partner: () => Partner;
  /**
   * Has another model answer from now on. Engine and tokenizer stay, only weights are read. When that fails it throws, and
   * the one before goes on answering.
   */
  readonly switchTo: (partner: Partner) => Promise<void>;
  /** See `Chat`. */
  readonly answer: (request: ChatRequest) => Promise<Answer>;
  /** Tokens of messages as a prompt. Throws a failure where the tokenizer refuses them. */
  readonly promptLength: (messages: readonly Message[]) => number;
  /** Longest prompt and answer together, in tokens. */
  readonly contextLength: () => number;
  readonly close: () => Promise<void>;
}

interface Seated {
  readonly partner: Partner;
  readonly chat: Chat;
  readonly contextLength: number;
}

/** Opens an engine with the first model in it. Throws usage errors and failures as `selfplay generate` does. */
export async function openTalk(settings: TalkSettings, context: RecipeContext): Promise<Talk> {
  const { model } = (await localInputs({ model: settings.model }, context)).settings;
  const lineup = await lineupOf(model, settings.model);
  let current = settings.iteration === undefined ? lineup.best : partnerNamed(lineup, settings.iteration);
  const tokenizer = await loadTokenizer(await companionDirectory(current.dir), lineup.templateTime);
  const opened = await openRequested(context.openEngine ?? openEngine, settings);
  const { engine } = opened;
  let seated: Seated | undefined;
  async function close(): Promise<void> {
    await seated?.chat.close();
    await engine.dispose();
  }
  /** What could not be loaded may have left its mark on the weights: then they are loaded again for the next answer. */
  async function seat(partner: Partner): Promise<Seated> {
    if (seated?.partner === partner) return seated;
    await demandBase(partner.dir);
    await seated?.chat.close();
    seated = undefined;
    const loaded = await loadModel(engine, partner.dir);
    await dropOthers(engine, loaded.model.parameters);
    context.say(`${partner.label} answers (${modelInWords(loaded)}).`);
    const chat = openChat(engine, { loaded, tokenizer });
    seated = { partner, chat, contextLength: loaded.model.contextLength };
    return seated;
  }
  try {
    context.say(engineSentence(frozen(opened)));
    const { contextLength } = await seat(current);
    return {
      lineup,
      partner: () => current,
      switchTo: async (partner) => {
        await seat(partner);
        current = partner;
      },
      answer: async (request) => (await seat(current)).chat.answer(request),
      promptLength: (messages) => tokenizer.encodePrompt(messages).length,
      contextLength: () => seated?.contextLength ?? contextLength,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Weights of the model before that the new one lacks (an adapter's) would stay in memory for nothing. */
async function dropOthers(engine: Engine, parameters: readonly { readonly name: string }[]): Promise<void> {
  const wanted = new Set(parameters.map(({ name }) => name));
  for (const name of (await engine.states()).keys()) if (!wanted.has(name)) await engine.dropState(name);
}
