export {
  MessageQueue,
  backendQueueNames,
  type DrainedMessage,
  type MessageQueueOptions,
  type QueueInfo,
} from "./message-queue";
