// Chat templates of the usual shapes, shortened, with their control tokens, and what they do with a system message.

export interface Shape {
  readonly name: string;
  readonly template: string;
  readonly controls: readonly string[];
  readonly system: 'turn' | 'first' | 'last' | null;
}

const loop = (inside: string) => `{% for m in messages %}${inside}{% endfor %}`;
const opened = (text: string) => `{% if add_generation_prompt %}${text}{% endif %}`;
const CHATML_TURN = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}";
const IM = ['<|im_start|>', '<|im_end|>'];

export const SHAPES: readonly Shape[] = [
  { name: 'ChatML', template: loop(CHATML_TURN) + opened('<|im_start|>assistant\n'), controls: IM, system: 'turn' },
  {
    name: 'ChatML with a default system message',
    template:
      loop(
        "{% if loop.first and m.role != 'system' %}{{ '<|im_start|>system\nYou are \"Smol\", with {{ love }}.<|im_end|>\n' }}{% endif %}" +
          CHATML_TURN,
      ) + opened("{{ '<|im_start|>assistant\n' }}"),
    controls: IM,
    system: 'turn',
  },
  {
    name: 'Llama 3',
    template:
      "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content | trim %}{% set messages = messages[1:] %}" +
      "{% else %}{% set system = '' %}{% endif %}{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n\n' + system + '<|eot_id|>' }}" +
      loop("{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + (m.content | trim) + '<|eot_id|>' }}") +
      opened("{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"),
    controls: ['<s>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>'],
    system: 'turn',
  },
  {
    name: 'Llama 2',
    template:
      "{% if messages[0].role == 'system' %}{% set system = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}" +
      loop(
        "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}",
      ),
    controls: ['<s>', '</s>'],
    system: 'first',
  },
  {
    name: 'Mistral',
    template:
      "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}" +
      loop(
        "{% if m.role == 'user' %}{{ '[INST] ' + (system if loop.last else '') + m.content + '[/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}",
      ),
    controls: ['<s>', '</s>', '[INST]', '[/INST]'],
    system: 'last',
  },
  {
    name: 'Gemma',
    template:
      "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system message') }}{% endif %}" +
      loop(
        "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (m.content | trim) + '<end_of_turn>\n' }}",
      ) +
      opened("{{ '<start_of_turn>model\n' }}"),
    controls: ['<s>', '<start_of_turn>', '<end_of_turn>'],
    system: null,
  },
  {
    name: 'Phi-3',
    template:
      loop("{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}") +
      "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ '<|endoftext|>' }}{% endif %}",
    controls: ['<|system|>', '<|user|>', '<|assistant|>', '<|end|>', '<|endoftext|>'],
    system: 'turn',
  },
  {
    name: 'headings',
    template: loop("{{ '### ' + m.role + ':\n' + m.content + '\n\n' }}") + opened('### assistant:\n'),
    controls: [],
    system: 'turn',
  },
];
